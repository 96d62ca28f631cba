// What every script stands on: checks, the hub's side of the story, and the SDKs' clients.
//
// A check prints one line. The first that fails ends the script with its reason and status 1.
'use strict';

const { isDeepStrictEqual, inspect } = require('util');
const readline = require('readline');
const { Client: DeviceClient, ModuleClient } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { Client: ServiceClient, JobClient, Registry } = require('azure-iothub');

// How long anything may take that has to happen; nothing asserts it.
const PATIENCE = 60_000;

let passed = 0;

// One check: `holds` must be true. `found` is shown when it is not.
function check(what, holds, found) {
  if (!holds) fail(what, `found ${inspect(found, { depth: 6 })}`);
  passed += 1;
  console.log(`ok ${what}`);
}

// One check: `found` must equal `expected`.
function equal(what, found, expected) {
  if (!isDeepStrictEqual(found, expected)) {
    fail(what, `${inspect(found, { depth: 6 })} instead of ${inspect(expected, { depth: 6 })}`);
  }
  check(what, true);
}

// One check: `promise` must be rejected with an error that `judge` approves of.
async function refused(what, promise, judge = () => true) {
  let result;
  try {
    result = await promise;
  } catch (error) {
    check(what, judge(error), error);
    return;
  }
  fail(what, `it succeeded with ${inspect(result)}`);
}

function fail(what, reason) {
  // The exit must not outrun the line that says why.
  require('fs').writeSync(1, `FAILED ${what}: ${reason}\n${new Error().stack}\n`);
  process.exit(1);
}

// Runs a script's function and ends with its verdict: what is left of a client must not keep it.
function run(script) {
  const unexpected = (error) => fail('the script', `an error that nothing expected: ${inspect(error)}`);
  process.on('uncaughtException', unexpected);
  script().then(() => {
    require('fs').writeSync(1, `passed ${passed} checks\n`);
    process.exit(0);
  }, unexpected);
}

const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// Asks the process that runs the hub; see `control.rs`.
async function ask(what, more = {}) {
  console.log(`ask ${JSON.stringify({ do: what, ...more })}`);
  const { value } = await answers.next();
  return JSON.parse(value);
}

// A connected device client.
async function device(deviceId, { transport = Mqtt, ...options } = {}) {
  const client = DeviceClient.fromConnectionString(await ask('register', { device: deviceId }), transport);
  await opened(client, options);
  return client;
}

// A connected client of a module that the registry knows.
async function moduleOf(deviceId, moduleId, options = {}) {
  const { responseBody } = await registry().getModule(deviceId, moduleId);
  const key = responseBody.authentication.symmetricKey.primaryKey;
  const text = `HostName=localhost;DeviceId=${deviceId};ModuleId=${moduleId};SharedAccessKey=${key}`;
  const client = ModuleClient.fromConnectionString(text, Mqtt);
  await opened(client, options);
  return client;
}

async function opened(client, options) {
  // Lost connections are what some scripts are about, and reported by other ways too.
  client.on('error', () => {});
  if (Object.keys(options).length > 0) await client.setOptions(options);
  await client.open();
}

// Clients of the policy that may do everything.
const registry = () => Registry.fromConnectionString(process.env.HUB_OWNER);
const jobs = () => JobClient.fromConnectionString(process.env.HUB_OWNER);
// Clients of the policy that the tutorials tell back ends to use.
const backEnd = () => ServiceClient.fromConnectionString(process.env.HUB_SERVICE);
const backEndRegistry = () => Registry.fromConnectionString(process.env.HUB_SERVICE);

// What a handler received, to be awaited. Give its `put` to the SDK.
class Inbox {
  #items = [];
  #wake = () => {};

  put = (item) => {
    this.#items.push(item);
    this.#wake();
  };

  // The next item, which has to come.
  async next(what) {
    const limit = setTimeout(() => fail(what, `nothing came within ${PATIENCE} ms`), PATIENCE);
    while (this.#items.length === 0) await new Promise((resolve) => (this.#wake = resolve));
    clearTimeout(limit);
    return this.#items.shift();
  }
}

module.exports = {
  Inbox, ask, backEnd, backEndRegistry, check, device, equal, jobs, moduleOf, refused, registry, run,
};
