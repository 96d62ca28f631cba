// Calls a method of a device, and reads its twin, over and over with Microsoft's SDK.
//
// Arguments: the device, and how often. Prints the times in microseconds as one line of JSON.
'use strict';

const { Client, Registry } = require('azure-iothub');

const WARM_UP = 5;
const [device, count] = [process.argv[2], Number(process.argv[3])];
const client = Client.fromConnectionString(process.env.HUB_OWNER);
const registry = Registry.fromConnectionString(process.env.HUB_OWNER);
const method = { methodName: 'echo', payload: { n: 1 } };

async function measured(call) {
  for (let i = 0; i < WARM_UP; i += 1) await call();
  const times = [];
  const before = process.cpuUsage();
  for (let i = 0; i < count; i += 1) {
    const begin = process.hrtime.bigint();
    await call();
    times.push(Number(process.hrtime.bigint() - begin) / 1e3);
  }
  const { user, system } = process.cpuUsage(before);
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.round((count - 1) * share)];
  return { p50: at(0.5), p99: at(0.99), cpu: (user + system) / count };
}

async function main() {
  const figures = {
    method: await measured(() => client.invokeDeviceMethod(device, method)),
    twin: await measured(() => registry.getTwin(device)),
    calls: 2 * (WARM_UP + count),
  };
  require('fs').writeSync(1, `${JSON.stringify(figures)}\n`);
}

main().then(
  () => process.exit(0),
  (error) => {
    require('fs').writeSync(2, `${error.stack}\n`);
    process.exit(1);
  },
);
