// Twins in both directions: desired to the device, reported to the service, and etags.
'use strict';

const { Inbox, ask, check, device, equal, refused, registry, run } = require('./checks');

const report = (twin, patch) => new Promise((resolve, reject) => {
  twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve()));
});

run(async () => {
  const hub = registry();
  const desired = async (properties, etag = '*') =>
    (await hub.updateTwin('d1', { properties: { desired: properties } }, etag)).responseBody;
  const read = async () => (await hub.getTwin('d1')).responseBody;

  const client = await device('d1');
  const twin = await client.getTwin();
  equal('a new twin is at its first version', twin.properties.desired, { $version: 1 });

  const patches = new Inbox();
  const intervals = new Inbox();
  twin.on('properties.desired', patches.put);
  twin.on('properties.desired.limits.low', intervals.put);
  await patches.next('what the twin holds already');
  // The hub handles what a device says in order: when this is answered, the subscription stands.
  await twin.get();
  await patches.next('what the twin holds already');

  const before = await read();
  const after = await desired({ interval: 10, limits: { low: 1, high: 9 } }, before.etag);
  equal('the service reads what it wrote', after.properties.desired.limits, { low: 1, high: 9 });
  equal('the device is told of it', await patches.next('a desired patch'),
    { interval: 10, limits: { low: 1, high: 9 }, $version: 2 });
  equal('and of the one value it listens to', await intervals.next('a value'), 1);

  await desired({ limits: { low: null } });
  const { $version, limits } = await patches.next('a desired patch');
  equal('a removal reaches the device', [$version, limits], [3, { low: null }]);
  equal('which then holds what is left', twin.properties.desired, { interval: 10, limits: { high: 9 }, $version: 3 });
  const again = new Inbox();
  client.getTwin((error, fresh) => again.put(error ?? fresh));
  equal('and reads the same', (await again.next('a twin')).properties.desired,
    { interval: 10, limits: { high: 9 }, $version: 3 });
  await patches.next('what the twin holds already');

  await refused('an old etag is refused', desired({ interval: 99 }, before.etag),
    (error) => error.name === 'InvalidEtagError');
  equal('and changes nothing', (await read()).properties.desired.interval, 10);
  await refused('a twin that was read changes by its own etag',
    new Promise((resolve, reject) => before.update({ tags: { late: true } }, (error) => (error ? reject(error) : resolve()))),
    (error) => error.name === 'InvalidEtagError');
  const tagged = (await hub.updateTwin('d1', { tags: { site: { plant: 'Redmond43' } } }, (await read()).etag)).responseBody;
  equal('tags are kept', tagged.tags, { site: { plant: 'Redmond43' } });
  await hub.updateTwin('d1', { properties: { desired: null } }, '*');
  equal('a whole section can be cleared', Object.keys((await read()).properties.desired).sort(), ['$metadata', '$version']);

  await report(twin, { firmware: { version: '1.0', size: 1.5 }, name: 'Zürich ☂' });
  let { reported } = (await read()).properties;
  equal('the service reads what the device reported', [reported.firmware, reported.name],
    [{ version: '1.0', size: 1.5 }, 'Zürich ☂']);
  check('and when', '$lastUpdated' in reported.$metadata.firmware.version, reported.$metadata);
  await report(twin, { firmware: { size: null }, list: [1, { a: 'b' }] });
  ({ reported } = (await read()).properties);
  equal('the device removes with null', reported.firmware, { version: '1.0' });
  equal('lists are kept', reported.list, [1, { a: 'b' }]);
  equal('each patch is a version', reported.$version, 3);

  await refused('a name that twins cannot have is refused', report(twin, { 'a.b': 1 }));
  equal('and leaves no trace', (await read()).properties.reported.$version, 3);

  await refused('an unknown device has no twin', hub.getTwin('nobody'), (error) => error.name === 'DeviceNotFoundError');
  await ask('fail', { operation: 'twinRead', status: 429, times: 1 });
  await refused('a throttled reader is told so', read(), (error) => error.name === 'ThrottlingError');
});
