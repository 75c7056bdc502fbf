module.exports = require("../noted")(() => new Promise((resolve) => setTimeout(resolve, 1000)));
