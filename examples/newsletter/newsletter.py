"""A newsletter: one job for each subscriber, from one transaction; failed addresses are tried again."""

import asyncio
import random
from dataclasses import dataclass

from tidemill import App, Cancel, JobContext
from tidemill.retry import exponential

app = App()


@dataclass
class Letter:
    to: str
    subject: str


@app.task(retry=exponential(first=0.1, maximum=1), max_attempts=5, timeout=10)
async def send_letter(letter: Letter, job: JobContext) -> Cancel | None:
    if letter.to.endswith("@gone.example"):
        return Cancel("the address is gone")
    # To show retries: like a mail server, fail now and then in the first two attempts.
    if job.attempt < 3 and random.random() < 0.2:
        raise ConnectionError("the mail server hung up")
    return None


async def main() -> None:
    subscribers = [f"reader{n}@example.com" for n in range(100)] + ["ann@gone.example"]
    async with app:
        async with app.connection() as connection:
            await connection.execute("create table if not exists letters (subject text)")
            await connection.execute("insert into letters values ('Spring')")
            # In the same transaction, so the row and the jobs are committed together.
            jobs = await app.add_jobs(
                [send_letter.spec(Letter(address, "Spring")) for address in subscribers],
                connection=connection,
            )
        print(f"{len(jobs)} letters to send")

        waiting = jobs
        while waiting:
            await app.run_until_empty()
            now = [await app.get_job(job.id) for job in jobs]
            waiting = [job for job in now if job is not None and job.state not in ("failed", "cancelled")]
            if waiting:
                print(f"{len(waiting)} will be tried again, for instance: {waiting[0].last_error}")
                await asyncio.sleep(0.2)
        for job in now:
            if job is not None:
                print(f"{job.payload['to']}: {job.last_error}")
        await app.complete_jobs([job.id for job in jobs])


if __name__ == "__main__":
    asyncio.run(main())
