module.exports = require("../noted")();
