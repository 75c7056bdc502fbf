// pg-boss: schema | add JOBS | work | loops OPTIONS, which are JSON. The database is that of DATABASE_URL.
const PgBoss = require("pg-boss");

const QUEUES = ["noop", "started"];
const connectionString = process.env.DATABASE_URL;

async function schema(boss) {
  for (const queue of QUEUES) await boss.createQueue(queue);
}

async function add(boss, count) {
  const jobs = Array.from({ length: Number(count) }, (_, id) => ({ name: "noop", data: { id } }));
  const started = performance.now();
  await boss.insert(jobs);
  console.log((performance.now() - started) / 1000);
}

const handlers = {
  noop: async () => {},
  started: async ({ data: { id, seconds } }) => {
    console.log(`started ${id} ${(performance.timeOrigin + performance.now()) / 1000}`);
    if (seconds) await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  },
};

async function work(boss) {
  for (const queue of QUEUES) await boss.work(queue, async ([job]) => handlers[queue](job));
}

// work() sleeps between batches; fetch() and complete() are the documented way without these pauses.
async function loop(boss, queue, fetch, pause) {
  for (;;) {
    const jobs = await boss.fetch(queue, fetch);
    await Promise.all(jobs.map(handlers[queue]));
    if (jobs.length) await boss.complete(queue, jobs.map((job) => job.id));
    else await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function main() {
  const [command, argument] = process.argv.slice(2);
  const options = command === "loops" ? JSON.parse(argument) : {};
  const boss = new PgBoss(options.PgBoss ? { connectionString, ...options.PgBoss } : connectionString);
  boss.on("error", console.error);
  await boss.start();
  if (command === "work") return work(boss);
  if (command === "loops") {
    const { loops, fetch, pause } = options;
    const all = QUEUES.flatMap((queue) => Array.from({ length: loops }, () => loop(boss, queue, fetch, pause)));
    await Promise.all(all);
  }
  if (command === "schema") await schema(boss);
  if (command === "add") await add(boss, argument);
  return boss.stop({ graceful: false });
}

main();
