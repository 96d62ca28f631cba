// Device identities: made, read, changed, listed, counted, removed, and what the hub refuses.
'use strict';

const { check, equal, refused, registry, run } = require('./checks');

const KEY_1 = Buffer.from('1'.repeat(32)).toString('base64');
const KEY_2 = Buffer.from('2'.repeat(32)).toString('base64');
const sas = (primaryKey, secondaryKey) => ({ type: 'sas', symmetricKey: { primaryKey, secondaryKey } });

run(async () => {
  const hub = registry();

  const made = (await hub.create({ deviceId: 'd1', authentication: sas(KEY_1, KEY_2) })).responseBody;
  equal('a device is made with the keys it is given', made.authentication.symmetricKey.primaryKey, KEY_1);
  equal('it was never connected', made.connectionState, 'Disconnected');
  const read = (await hub.get('d1')).responseBody;
  equal('it is read as it was made', [read.deviceId, read.etag, read.status], ['d1', made.etag, 'enabled']);

  const { symmetricKey } = (await hub.create({ deviceId: 'd2' })).responseBody.authentication;
  equal('without keys the hub makes them', Buffer.from(symmetricKey.primaryKey, 'base64').length, 32);
  check('which differ', symmetricKey.primaryKey !== symmetricKey.secondaryKey, symmetricKey);

  await refused('a device cannot be made twice', hub.create({ deviceId: 'd1' }),
    (error) => error.name === 'DeviceAlreadyExistsError');
  await refused('an unknown device is not found', hub.get('nobody'), (error) => error.name === 'DeviceNotFoundError');

  const changed = (await hub.update({ ...read, status: 'disabled' })).responseBody;
  equal('a device is changed', changed.status, 'disabled');
  check('which moves the etag', changed.etag !== read.etag, changed.etag);

  const odd = "a-.+%_#*?!(),:=@$'";
  await hub.create({ deviceId: odd });
  equal('every allowed character works in an id', (await hub.get(odd)).responseBody.deviceId, odd);

  const listed = (await hub.list()).responseBody.map(({ deviceId }) => deviceId);
  equal('devices are listed', listed.sort(), ['d1', 'd2', odd].sort());
  equal('devices are counted', { ...(await hub.getRegistryStatistics()).responseBody },
    { totalDeviceCount: 3, enabledDeviceCount: 2, disabledDeviceCount: 1 });

  const many = [{ deviceId: 'b1', status: 'enabled' }, { deviceId: 'b2', status: 'enabled' }];
  const added = (await hub.addDevices(many.map((entry) => ({ ...entry, authentication: sas(KEY_1, KEY_2) })))).responseBody;
  check('many devices are made at once', added.isSuccessful && added.errors.length === 0, added);
  const { etag } = (await hub.get('b1')).responseBody;
  const updated = (await hub.updateDevices([{ deviceId: 'b1', status: 'disabled', etag, authentication: sas(KEY_2, KEY_1) }], false)).responseBody;
  check('and changed by their etags', updated.isSuccessful, updated);
  equal('with effect', (await hub.get('b1')).responseBody.status, 'disabled');
  await refused('but not by old ones',
    hub.updateDevices([{ deviceId: 'b1', status: 'enabled', etag, authentication: sas(KEY_1, KEY_2) }], false),
    (error) => error.responseBody.includes('"isSuccessful":false'));
  const removed = (await hub.removeDevices(many, true)).responseBody;
  check('and removed', removed.isSuccessful, removed);
  await refused('and gone', hub.get('b1'), (error) => error.name === 'DeviceNotFoundError');

  await hub.delete('d1');
  await refused('a removed device is gone', hub.get('d1'), (error) => error.name === 'DeviceNotFoundError');
  await refused('it cannot be removed again', hub.delete('d1'), (error) => error.name === 'DeviceNotFoundError');
});
