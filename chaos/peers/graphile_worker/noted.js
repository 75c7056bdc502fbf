// Notes start and end of a job outside of any transaction; its row is written in one of its own.
const fs = require("fs");

const journal = fs.openSync(process.env.CHAOS_JOURNAL, "a");
const ROW = "insert into chaos.runs (number, attempt, worker) values ($1, $2, $3)";

function note(...words) {
  // The machine's monotonic clock, as all processes of the harness use it.
  fs.writeSync(journal, `${words.join(" ")}\n`);
}

const now = () => Number(process.hrtime.bigint()) / 1e9;

// `inside` gets the open transaction's client and the attempt.
module.exports = (inside) => async ({ number }, helpers) => {
  const attempt = helpers.job.attempts;
  const who = [number, attempt, `node-${process.pid}`, process.pid, now()];
  note("start", ...who);
  let how = "failed";
  try {
    await helpers.withPgClient(async (client) => {
      await client.query("begin");
      try {
        await client.query(ROW, who.slice(0, 3));
        if (inside) await inside(attempt);
        await client.query("commit");
      } catch (error) {
        await client.query("rollback");
        throw error;
      }
    });
    how = "ok";
  } finally {
    note("end", ...who, now(), how);
  }
};
