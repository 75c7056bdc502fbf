// pg-boss: schema | add JOBS | worker CONCURRENCY. The database is that of DATABASE_URL.
const PgBoss = require("pg-boss");

const QUEUE = "noop";
const BATCH = 1000;

async function add(boss, count) {
  const jobs = Array.from({ length: count }, (_, id) => ({ name: QUEUE, data: { id } }));
  const started = performance.now();
  await boss.insert(jobs);
  console.log((performance.now() - started) / 1000);
}

async function noop() {}

// work() sleeps between batches; fetch() and complete() are the documented way without these pauses.
async function work(boss) {
  for (;;) {
    const jobs = await boss.fetch(QUEUE, { batchSize: BATCH });
    for (const job of jobs) await noop(job);
    if (jobs.length) await boss.complete(QUEUE, jobs.map((job) => job.id));
    else await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function main() {
  const [command, number] = process.argv.slice(2);
  const boss = new PgBoss({ connectionString: process.env.DATABASE_URL, max: 10 });
  boss.on("error", console.error);
  await boss.start();
  if (command === "schema") await boss.createQueue(QUEUE);
  if (command === "add") await add(boss, Number(number));
  if (command === "worker") await Promise.all([work(boss), work(boss)]);
  await boss.stop({ graceful: false });
}

main();
