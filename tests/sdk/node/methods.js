// Direct methods: every kind of payload and of answer, and every way in which a call fails.
'use strict';

const { ask, backEnd, check, device, equal, refused, run } = require('./checks');

const PAYLOADS = [
  ['an object', { a: { b: [1, 2.5, 'c'] } }],
  ['an empty object', {}],
  ['a list', [1, null, { x: true }]],
  ['a string', 'plain'],
  ['an empty string', ''],
  ['letters of other scripts', 'żółć ☂ 日本'],
  ['JSON in a string', '{"fwPackageUri":"https://secureurl"}'],
  ['an integer', 10],
  ['a fraction', -0.5],
  ['zero', 0],
  ['a truth', true],
  ['a falsehood', false],
  ['null', null],
  ['a long text', 'x'.repeat(20_000)],
];

// The code within the hub's answer to a refused call.
const code = (number) => (error) => error.responseBody.includes(`"errorCode":${number}`)
  || error.responseBody.includes(`\\"errorCode\\":${number}`);
const refusal = (name, number) => (error) => error.name === name && code(number)(error);

run(async () => {
  const hub = backEnd();
  const call = async (methodName, more = {}, deviceId = 'd1') =>
    (await hub.invokeDeviceMethod(deviceId, { methodName, ...more })).result;

  const client = await device('d1');
  client.onDeviceMethod('echo', (request, response) => response.send(200, request.payload));
  client.onDeviceMethod('nothing', (request, response) => response.send(204));
  client.onDeviceMethod('status', (request, response) => response.send(request.payload, { why: 'asked' }));
  client.onDeviceMethod('thermostat1*getMax', (request, response) => response.send(200, 'odd name'));
  client.onDeviceMethod('broken', () => { throw new Error('a bug'); });
  await ask('callable', { device: 'd1' });

  for (const [what, payload] of PAYLOADS) {
    equal(`${what} goes there and back`, await call('echo', { payload }), { status: 200, payload });
  }
  equal('no payload is null', await call('echo'), { status: 200, payload: null });
  equal('a device may answer nothing', await call('nothing'), { status: 204, payload: null });
  for (const status of [200, 400, 404, 500, 501, -1, 12345]) {
    equal(`status ${status} is the device's own`, await call('status', { payload: status }), { status, payload: { why: 'asked' } });
  }
  equal('an odd name arrives as it is', (await call('thermostat1*getMax')).payload, 'odd name');
  equal('a key that the hub does not know does no harm', (await call('nothing', { timeoutInSeconds: 30 })).status, 204);
  equal('a handler that throws answers for itself', (await call('broken')).status, 400);

  // This SDK drops a method that it has no handler for, without a word.
  await refused('a silent device is a timeout', call('unknown', { responseTimeoutInSeconds: 5 }),
    refusal('GatewayTimeoutError', 504101));

  await ask('register', { device: 'offline' });
  await refused('a device that is not there is not online', call('echo', {}, 'offline'), code(404103));
  await refused('an unknown device is not found', call('echo', {}, 'nobody'), code(404001));
  for (const responseTimeoutInSeconds of [4, 301]) {
    await refused(`${responseTimeoutInSeconds} s are no response timeout`, call('echo', { responseTimeoutInSeconds }),
      (error) => error.name === 'ArgumentError');
  }
  const leaving = call('unknown', { payload: 'leaving', responseTimeoutInSeconds: 60 });
  while (!(await ask('methods')).some(({ payload }) => payload === 'leaving'));
  await ask('cut', { device: 'd1' });
  await refused('a device that goes away before it answers is unavailable', leaving,
    (error) => error.response.statusCode === 404 && error.responseBody.includes('Device unavailable'));
  await refused('a payload of more than 128 KB is refused', call('echo', { payload: 'x'.repeat(128 * 1024) }),
    (error) => error.response.statusCode >= 400 && error.response.statusCode < 500);
  await refused('a call without a name is refused', call('', {}), () => true);
  // This SDK asks again after 500, soon.
  await ask('fail', { operation: 'methodCall', status: 500, times: 1 });
  equal('a hub that fails once is asked again', await call('echo', { payload: 'again', connectTimeoutInSeconds: 60 }), { status: 200, payload: 'again' });
  const again = (await ask('methods')).filter(({ payload }) => payload === 'again');
  equal('and the device was called once', again.map(({ deliveries }) => deliveries), [1]);

  await client.close();
  await ask('disconnected', { device: 'd1' });
  await refused('a device that left is not online', call('echo'), code(404103));
  const waiting = call('echo', { payload: 'late', connectTimeoutInSeconds: 60 });
  await client.open();
  check('a caller can wait for it to come', (await waiting).payload === 'late');
});
