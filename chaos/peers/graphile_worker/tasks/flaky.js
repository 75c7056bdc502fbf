module.exports = require("../noted")((attempt) => {
  if (attempt === 1) throw new Error("planned");
});
