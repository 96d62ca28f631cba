// Connections that end: by renewal, by accident, by another client, and what is kept over them.
//
// This SDK subscribes again to methods at most, so the rest stands on the hub's kept sessions. With
// the argument `websockets` the device side goes over WebSockets.
'use strict';

const { NoRetry } = require('azure-iot-common');
const { Client, Message } = require('azure-iot-device');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
const checks = require('./checks');
const { Inbox, ask, backEnd, check, equal, refused, registry, run } = checks;

const transport = process.argv.includes('websockets') ? MqttWs : Mqtt;
const device = (deviceId, options = {}) => checks.device(deviceId, { transport, ...options });

run(async () => {
  const hub = registry();
  const service = backEnd();
  let round = 0;

  // Makes a client answer methods; returns its twin and the values of `round` that it hears of.
  const serve = async (client) => {
    client.onDeviceMethod('echo', (request, response) => response.send(200, request.payload));
    const twin = await client.getTwin();
    const rounds = new Inbox();
    twin.on('properties.desired.round', rounds.put);
    await twin.get();
    return { client, twin, rounds };
  };

  // Checks that methods, desired patches, twins and messages go through.
  const works = async (what, deviceId, { client, twin, rounds }) => {
    round += 1;
    const expected = round;
    const call = { methodName: 'echo', payload: expected, connectTimeoutInSeconds: 30 };
    equal(`${what}: a method is answered`, (await service.invokeDeviceMethod(deviceId, call)).result.payload, expected);
    await hub.updateTwin(deviceId, { properties: { desired: { round: expected } } }, '*');
    // Reading the twin tells the listener what it held before, too.
    while ((await rounds.next(`${what}: a desired patch`)) !== expected);
    check(`${what}: a desired patch arrives`, true);
    await new Promise((resolve, reject) => {
      twin.properties.reported.update({ round: expected }, (error) => (error ? reject(error) : resolve()));
    });
    const { properties } = (await hub.getTwin(deviceId)).responseBody;
    equal(`${what}: a reported patch arrives`, properties.reported.round, expected);
    equal(`${what}: the device reads its twin`, (await client.getTwin()).properties.desired.round, expected);
    await client.sendEvent(new Message(`${expected}`));
    equal(`${what}: a message arrives`, (await ask('telemetry')).at(-1).body, `${expected}`);
  };

  // Valid for six seconds and renewed three before the end. The SDK waits for ever for a twin whose
  // answer a renewal cut off, so a busy machine has to have time between two of them.
  const tokenRenewal = { tokenValidTimeInSeconds: 6, tokenRenewalMarginInSeconds: 3 };
  const renewing = await serve(await device('renewing', { tokenRenewal }));
  await works('before a renewal', 'renewing', renewing);
  let connects = await ask('connects');
  check('the token is renewed by a new connection', (await ask('connects', { atLeast: connects + 2 })) >= connects + 2);
  await works('after two renewals', 'renewing', renewing);
  await renewing.client.close();
  await ask('disconnected', { device: 'renewing' });

  const cut = await serve(await device('cut'));
  await works('before the cut', 'cut', cut);
  for (const which of ['first', 'second']) {
    connects = await ask('connects');
    check(`the connection is cut a ${which} time`, await ask('cut', { device: 'cut' }));
    await ask('connects', { atLeast: connects + 1 });
    await works(`after the ${which} cut`, 'cut', cut);
  }
  connects = await ask('connects');
  await ask('refuse', { device: 'cut' });
  await ask('cut', { device: 'cut' });
  await ask('connects', { atLeast: connects + 1 });
  await works('after a refusal and another try', 'cut', cut);
  await ask('pause');
  await ask('disconnected', { device: 'cut' });
  connects = await ask('connects');
  await ask('resume');
  await ask('connects', { atLeast: connects + 1 });
  await works('after the hub was out of reach', 'cut', cut);
  await cut.client.close();
  await ask('disconnected', { device: 'cut' });
  await cut.client.open();
  await works('after leaving and coming back', 'cut', cut);
  await cut.client.close();

  // A second client of the same device. The first one must not fight for it.
  const first = await device('twice');
  first.setRetryPolicy(new NoRetry());
  const lost = new Inbox();
  first.on('disconnect', lost.put);
  first.onDeviceMethod('echo', () => {});
  await ask('callable', { device: 'twice' });
  const second = await serve(await device('twice'));
  await lost.next('a lost connection');
  check('a second client takes the device over', true);
  await works('after the take-over', 'twice', second);

  const own = await ask('register', { device: 'locked' });
  const wrong = own.replace(/SharedAccessKey=.*/, `SharedAccessKey=${'A'.repeat(43)}=`);
  await refused('a wrong key is no credential', Client.fromConnectionString(wrong, transport).open(),
    (error) => error.name === 'UnauthorizedError');
});
