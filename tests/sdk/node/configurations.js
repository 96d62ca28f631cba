// Automatic device configurations: made, applied to the twins that they fit, changed, removed; and a
// content that is applied to one device.
'use strict';

const { Inbox, ask, check, device, equal, refused, registry, run } = require('./checks');

run(async () => {
  const hub = registry();
  const client = await device('d1');
  const twin = await client.getTwin();
  const firmwares = new Inbox();
  twin.on('properties.desired.firmware', firmwares.put);
  await twin.get();
  await ask('register', { device: 'd2' });
  await hub.updateTwin('d1', { tags: { chiller: true } }, '*');

  const wanted = { version: '2.8.5' };
  const configuration = {
    id: 'firmware285',
    labels: { a: 'b' },
    content: { deviceContent: { 'properties.desired.firmware': wanted } },
    targetCondition: 'tags.chiller = true',
    priority: 10,
    metrics: { queries: { current: "SELECT deviceId FROM devices WHERE properties.reported.firmware.status = 'current'" } },
  };
  const made = (await hub.addConfiguration(configuration)).responseBody;
  equal('a configuration is made', [made.id, made.priority, made.labels], ['firmware285', 10, { a: 'b' }]);
  await refused('not twice', hub.addConfiguration(configuration), (error) => error.response.statusCode === 409);
  equal('the device that it fits is told', await firmwares.next('a desired patch'), wanted);
  const desired = async (deviceId) => (await hub.getTwin(deviceId)).responseBody.properties.desired;
  check('the other one is not', !('firmware' in (await desired('d2'))));

  // As the tutorial's back end reads it.
  await new Promise((resolve, reject) => {
    twin.properties.reported.update({ firmware: { status: 'current' } }, (error) => (error ? reject(error) : resolve()));
  });
  const read = (await hub.getConfiguration('firmware285')).responseBody;
  equal('its own metrics count', [read.systemMetrics.results.targetedCount, read.systemMetrics.results.appliedCount], [1, 1]);
  equal('and those that were asked for', read.metrics.results.current, 1);

  const changed = { ...read, priority: 11, content: { deviceContent: { 'properties.desired.firmware': { version: '3' } } } };
  await hub.updateConfiguration(changed, true);
  equal('a changed one is applied again', await firmwares.next('a desired patch'), { version: '3' });
  await refused('an old etag is refused', hub.updateConfiguration({ ...changed, etag: made.etag }),
    (error) => error.response.statusCode === 412);
  equal('configurations are listed', (await hub.getConfigurations()).responseBody.map(({ id }) => id), ['firmware285']);
  await hub.removeConfiguration('firmware285');
  await refused('a removed one is gone', hub.getConfiguration('firmware285'), (error) => error.response.statusCode === 404);

  await hub.applyConfigurationContentOnDevice('d2', {
    deviceContent: { 'properties.desired.firmware': wanted },
    modulesContent: { filter: { 'properties.desired': { rate: 5 } } },
  });
  equal('a content is applied to one device', (await desired('d2')).firmware, wanted);
  const module = (await hub.getModuleTwin('d2', 'filter')).responseBody;
  equal('and to its modules, which are made', module.properties.desired.rate, 5);
});
