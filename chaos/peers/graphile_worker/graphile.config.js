module.exports = { worker: { taskDirectory: `${__dirname}/tasks` } };
