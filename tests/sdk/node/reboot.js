// The reboot tutorials of this language: the article, and the sample of the SDK. Each device only
// says that it rebooted; each back end believes it.
'use strict';

const { ask, backEnd, backEndRegistry, check, device, equal, run } = require('./checks');

// A device of either dialect: answers first, then reports the time under its property's name.
async function tutorialDevice(deviceId, property) {
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
      });
    });
  });
  await ask('callable', { device: deviceId });
}

// A back end of either: calls the method, then reads the twin until the time is there.
async function tutorialBackEnd(deviceId, property) {
  const called = new Date();
  const params = { methodName: 'reboot', payload: null, timeoutInSeconds: 30 };
  const { result } = await new Promise((resolve, reject) => {
    backEnd().invokeDeviceMethod(deviceId, params, (error, result) => (error ? reject(error) : resolve({ result })));
  });
  equal(`${property}: the device says that it starts`, result, { status: 200, payload: 'Reboot started' });

  const registry = backEndRegistry();
  for (;;) {
    const twin = (await registry.getTwin(deviceId)).responseBody;
    const time = twin.properties.reported.iothubDM?.reboot?.[property];
    if (!time) continue;
    check(`${property}: and when it did`, Date.parse(time) >= called.getTime(), time);
    const { $lastUpdated } = twin.properties.reported.$metadata.iothubDM.reboot[property];
    check(`${property}: which the hub dates too`, !Number.isNaN(Date.parse($lastUpdated)), $lastUpdated);
    return;
  }
}

run(async () => {
  for (const [deviceId, property] of [['article', 'lastReboot'], ['sample', 'startedRebootTime']]) {
    await tutorialDevice(deviceId, property);
    await tutorialBackEnd(deviceId, property);
  }
});
