// Connects devices with Microsoft's SDK, each subscribed to methods, twin answers and desired
// properties.
//
// Arguments: a JSON list of connection strings, and how many seconds they are left idle. Prints what
// they cost as one line of JSON.
'use strict';

const fs = require('fs');
const { Client } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

const [strings, idle] = [JSON.parse(process.argv[2]), Number(process.argv[3])];

const status = (field) => Number(
  fs.readFileSync('/proc/self/status', 'ascii').split('\n')
    .find((line) => line.startsWith(field)).split(/\s+/)[1],
);
const now = () => Number(process.hrtime.bigint()) / 1e9;
const used = (before) => {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
};

async function connected(string) {
  const client = Client.fromConnectionString(string, Mqtt);
  await client.setOptions({ keepalive: 60 });
  await client.open();
  client.onDeviceMethod('echo', (request, response) => response.send(200, request.payload));
  const twin = await client.getTwin();
  twin.on('properties.desired', () => {});
  return client;
}

async function main() {
  const clients = [await connected(strings[0])];
  const first = Date.now() - Number(process.env.BENCH_BEGUN_MS);
  const base = status('VmRSS:');
  let [before, begin] = [process.cpuUsage(), now()];
  const waiting = strings.slice(1);
  const more = waiting.length;
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (waiting.length > 0) clients.push(await connected(waiting.pop()));
  }));
  const [took, cpu, total] = [now() - begin, used(before), status('VmRSS:')];
  [before, begin] = [process.cpuUsage(), now()];
  await new Promise((resolve) => setTimeout(resolve, idle * 1e3));
  const share = used(before) / (now() - begin);
  const figures = {
    first,
    base,
    each: (total - base) / more,
    total,
    count: strings.length,
    threads: status('Threads:'),
    rate: more / took,
    cpu: (cpu * 1e3) / more,
    idle: (share * 100) / strings.length,
  };
  fs.writeSync(1, `${JSON.stringify(figures)}\n`);
}

main().then(
  () => process.exit(0),
  (error) => {
    fs.writeSync(2, `${error.stack}\n`);
    process.exit(1);
  },
);
