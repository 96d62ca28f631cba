// Modules: their identities, twins, methods and messages.
'use strict';

const { Message } = require('azure-iot-device');
const { Inbox, ask, backEnd, check, equal, moduleOf, refused, registry, run } = require('./checks');

run(async () => {
  const hub = registry();
  await ask('register', { device: 'd1' });

  await hub.addModule({ deviceId: 'd1', moduleId: 'm1', managedBy: 'someone' });
  await hub.addModule({ deviceId: 'd1', moduleId: 'm2' });
  const listed = (await hub.getModulesOnDevice('d1')).responseBody;
  equal('modules are listed', listed.map(({ moduleId }) => moduleId).sort(), ['m1', 'm2']);
  await refused('a module cannot be made twice', hub.addModule({ deviceId: 'd1', moduleId: 'm1' }),
    (error) => error.name === 'DeviceAlreadyExistsError');
  const made = (await hub.getModule('d1', 'm1')).responseBody;
  await hub.updateModule({ ...made, managedBy: 'else' });
  equal('a module is changed', (await hub.getModule('d1', 'm1')).responseBody.managedBy, 'else');
  await hub.removeModule('d1', 'm2');
  await refused('a removed module is gone', hub.getModule('d1', 'm2'));

  const client = await moduleOf('d1', 'm1');
  client.onMethod('who', (request, response) => response.send(200, { module: request.payload }));
  const twin = await client.getTwin();
  const patches = new Inbox();
  twin.on('properties.desired', patches.put);
  await patches.next('what the twin holds already');
  await twin.get();
  await patches.next('what the twin holds already');
  await hub.updateModuleTwin('d1', 'm1', { properties: { desired: { interval: 5 } } }, '*');
  equal('a module hears of its own twin', await patches.next('a desired patch'), { interval: 5, $version: 2 });
  await new Promise((resolve, reject) => {
    twin.properties.reported.update({ ready: true }, (error) => (error ? reject(error) : resolve()));
  });
  check('the service reads what it reported', (await hub.getModuleTwin('d1', 'm1')).responseBody.properties.reported.ready === true);
  check("the device's twin is another", !('ready' in (await hub.getTwin('d1')).responseBody.properties.reported));

  const call = { methodName: 'who', payload: 'm1', connectTimeoutInSeconds: 30 };
  equal('a module answers its own methods', (await backEnd().invokeDeviceMethod('d1', 'm1', call)).result,
    { status: 200, payload: { module: 'm1' } });
  await refused('the device does not answer for it', backEnd().invokeDeviceMethod('d1', { methodName: 'who' }),
    (error) => error.responseBody.includes('404103'));

  await client.sendOutputEvent('out1', new Message('hello'));
  const [message] = await ask('telemetry');
  equal("a module's message is its own", [message.device, message.module, message.body, message.properties['$.on']],
    ['d1', 'm1', 'hello', 'out1']);
});
