module.exports = async ({ id, seconds }) => {
  console.log(`started ${id} ${(performance.timeOrigin + performance.now()) / 1000}`);
  if (seconds) await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
};
