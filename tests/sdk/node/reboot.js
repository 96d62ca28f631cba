// The reboot tutorials of this language: the article, and the sample of the SDK. Each device only
// says that it rebooted; each back end believes it.
//
// With the arguments `device ID PROPERTY` it is such a device alone, for a back end elsewhere, until it was
// told to reboot. With `back-end ID PROPERTY` it is such a back end, for a device elsewhere.
'use strict';

const { Inbox, ask, backEnd, backEndRegistry, check, device, equal, run } = require('./checks');

// A device of either dialect: answers first, then reports the time under its property's name.
// Returns where each report is announced.
async function tutorialDevice(deviceId, property) {
  const reported = new Inbox();
  const client = await device(deviceId);
  client.onDeviceMethod('reboot', (request, response) => {
    response.send(200, 'Reboot started', (error) => {
      if (error) throw error;
    });
    client.getTwin((error, twin) => {
      if (error) throw error;
      const patch = { iothubDM: { reboot: { [property]: new Date().toISOString() } } };
      twin.properties.reported.update(patch, (error) => {
        if (error) throw error;
        reported.put(property);
      });
    });
  });
  await ask('callable', { device: deviceId });
  return reported;
}

// A back end of either: calls the method, then reads the twin until the time is there, or another
// one than before. Returns what the device answered.
async function tutorialBackEnd(deviceId, property) {
  const registry = backEndRegistry();
  const times = async () => {
    const { reported } = (await registry.getTwin(deviceId)).responseBody.properties;
    const [value, metadata] = [reported, reported.$metadata].map((of) => of.iothubDM?.reboot?.[property]);
    return { value, updated: metadata?.$lastUpdated };
  };
  const before = await times();
  const params = { methodName: 'reboot', payload: null, timeoutInSeconds: 30 };
  const answer = await new Promise((resolve, reject) => {
    backEnd().invokeDeviceMethod(deviceId, params, (error, result) => (error ? reject(error) : resolve(result)));
  });
  for (;;) {
    const { value, updated } = await times();
    if (!value || value === before.value) continue;
    check(`${property} is a time`, !Number.isNaN(Date.parse(value)), value);
    check('which the hub dates too', Date.parse(updated) > (Date.parse(before.updated) || 0), updated);
    return answer;
  }
}

run(async () => {
  const [role, deviceId, property] = process.argv.slice(2);
  if (role === 'device') {
    const reported = await tutorialDevice(deviceId, property);
    equal('the device was told to reboot, and said so', await reported.next('a report'), property);
    return;
  }
  if (role === 'back-end') {
    const { status } = await tutorialBackEnd(deviceId, property);
    equal('the device accepts', status, 200);
    return;
  }
  for (const [deviceId, property] of [['article', 'lastReboot'], ['sample', 'startedRebootTime']]) {
    await tutorialDevice(deviceId, property);
    equal('the device says that it starts', await tutorialBackEnd(deviceId, property),
      { status: 200, payload: 'Reboot started' });
  }
});
