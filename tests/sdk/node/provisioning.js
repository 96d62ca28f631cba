// Devices that ask the provisioning service for their hub.
'use strict';

const { createHmac, X509Certificate } = require('crypto');
const { Client } = require('azure-iot-device');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const provisioning = require('azure-iot-provisioning-device-mqtt');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { X509Security } = require('azure-iot-security-x509');
const { ask, check, equal, refused, registry, run } = require('./checks');

const websockets = process.argv.includes('websockets');
const hubTransport = websockets ? MqttWs : Mqtt;
const KEY = Buffer.from('a key of an enrolment, 32 bytes!').toString('base64');

function client(security, scope) {
  const transport = websockets ? new provisioning.MqttWs() : new provisioning.Mqtt();
  return ProvisioningDeviceClient.create('localhost', scope, transport, security);
}

const byKey = (id, key, scope) => client(new SymmetricKeySecurityClient(id, key), scope);

// The hub knows a device by what it registered with.
async function connects({ assignedHub, deviceId }, credentials, options) {
  const text = `HostName=${assignedHub};DeviceId=${deviceId};${credentials}`;
  const device = Client.fromConnectionString(text, hubTransport);
  if (options) await device.setOptions(options);
  await device.open();
  const twin = await device.getTwin();
  await new Promise((resolve, reject) => {
    twin.properties.reported.update({ here: true }, (error) => (error ? reject(error) : resolve()));
  });
  await device.close();
  return (await registry().getTwin(deviceId)).responseBody.properties.reported.here;
}

run(async () => {
  const scope = await ask('enroll', { device: 'prov-1', key: KEY, deviceId: 'pump-1', payload: { floor: 2 } });
  const first = byKey('prov-1', KEY, scope);
  first.setProvisioningPayload({ model: 'x' });
  const assigned = await first.register();
  equal('a device is assigned', assigned.status, 'assigned');
  equal('to this hub', assigned.assignedHub, 'localhost');
  equal('under its name there', assigned.deviceId, 'pump-1');
  equal('for the first time', assigned.substatus, 'initialAssignment');
  equal('with a word from the service', assigned.payload, { floor: 2 });
  check('the hub knows its key', await connects(assigned, `SharedAccessKey=${KEY}`));
  const again = await byKey('prov-1', KEY, scope).register();
  equal('it may ask again and was there before', again.createdDateTimeUtc, assigned.createdDateTimeUtc);

  await ask('enroll', { group: 'site', key: KEY });
  const derived = createHmac('sha256', Buffer.from(KEY, 'base64')).update('prov-2').digest('base64');
  const member = await byKey('prov-2', derived, scope).register();
  check("a group's device has a key of its own", await connects(member, `SharedAccessKey=${derived}`));
  await refused("the group's own key opens nothing", byKey('prov-3', KEY, scope).register());
  await refused('nor does another scope', byKey('prov-1', KEY, '0ne99999999').register());

  await ask('fail', { operation: 'registration', status: 429, times: 1 });
  equal('a busy service is asked again', (await byKey('prov-1', KEY, scope).register()).status, 'assigned');
  await ask('fail', { operation: 'registration', status: 401, times: 1 });
  await refused('a refusal is an error', byKey('prov-1', KEY, scope).register(), (error) => error.name === 'UnauthorizedError');
  await ask('enroll', { device: 'prov-1', key: KEY, enabled: false });
  await refused('a disabled device gets no hub', byKey('prov-1', KEY, scope).register());
  await ask('enroll', { device: 'prov-1', key: KEY, hub: 'another.hub' });
  const moved = await byKey('prov-1', KEY, scope).register();
  equal('a device is sent to another hub', moved.assignedHub, 'another.hub');

  const { certificate: cert, key } = await ask('certificate', { device: 'whatever' });
  const thumbprint = new X509Certificate(cert).fingerprint256.replaceAll(':', '');
  await ask('enroll', { device: 'prov-x', thumbprint });
  const shown = await client(new X509Security('prov-x', { cert, key }), scope).register();
  equal('a certificate registers its device', shown.deviceId, 'prov-x');
  check("and opens the hub's door", await connects(shown, 'x509=true', { cert, key }));
});
