// Adds so many noop jobs by addJobs, and prints the seconds that it took.
const { makeWorkerUtils } = require("graphile-worker");

async function main() {
  const utils = await makeWorkerUtils({ connectionString: process.env.DATABASE_URL });
  const specs = Array.from({ length: Number(process.argv[2]) }, (_, id) => ({
    identifier: "noop",
    payload: { id },
  }));
  const started = performance.now();
  await utils.addJobs(specs);
  console.log((performance.now() - started) / 1000);
  await utils.release();
}

main();
