// Devices that identify themselves by a certificate instead of a key.
'use strict';

const { X509Certificate } = require('crypto');
const { Client } = require('azure-iot-device');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
const { Inbox, ask, backEnd, check, equal, refused, registry, run } = require('./checks');

const transport = process.argv.includes('websockets') ? MqttWs : Mqtt;

run(async () => {
  const hub = registry();
  const service = backEnd();

  // A new certificate, and its thumbprints.
  const made = async (name) => {
    const { certificate, key } = await ask('certificate', { device: name });
    const { fingerprint, fingerprint256 } = new X509Certificate(certificate);
    const [sha1, sha256] = [fingerprint, fingerprint256].map((text) => text.replaceAll(':', ''));
    return { cert: certificate, key, sha1, sha256 };
  };
  const open = async (deviceId, { cert, key }) => {
    const client = Client.fromConnectionString(`HostName=localhost;DeviceId=${deviceId};x509=true`, transport);
    client.on('error', () => {});
    await client.setOptions({ cert, key });
    await client.open();
    return client;
  };
  const unauthorized = (error) => error.name === 'UnauthorizedError';

  const first = await made('whatever');
  const second = await made('d1');
  const x509Thumbprint = { primaryThumbprint: first.sha1, secondaryThumbprint: second.sha256 };
  const authentication = { type: 'selfSigned', x509Thumbprint };
  const identity = (await hub.create({ deviceId: 'd1', status: 'enabled', authentication })).responseBody;
  equal('a device is made with thumbprints', identity.authentication.x509Thumbprint, x509Thumbprint);

  for (const [what, shown] of [['the first certificate, by SHA-1', first], ['the second, by SHA-256', second]]) {
    const client = await open('d1', shown);
    check(`${what}, opens the door`, true);
    client.onDeviceMethod('echo', (request, response) => response.send(200, request.payload));
    const twin = await client.getTwin();
    const values = new Inbox();
    twin.on('properties.desired.who', values.put);
    await twin.get();
    await ask('callable', { device: 'd1' });
    const { result } = await service.invokeDeviceMethod('d1', { methodName: 'echo', payload: { a: 1 } });
    equal('methods reach it', result.payload, { a: 1 });
    await hub.updateTwin('d1', { properties: { desired: { who: what } } }, '*');
    while ((await values.next('a desired value')) !== what);
    await new Promise((resolve, reject) => {
      twin.properties.reported.update({ who: what }, (error) => (error ? reject(error) : resolve()));
    });
    equal('it reports', (await hub.getTwin('d1')).responseBody.properties.reported.who, what);
    await client.close();
    await ask('disconnected', { device: 'd1' });
  }

  await refused('another certificate of the same name does not', open('d1', await made('d1')), unauthorized);
  await hub.create({ deviceId: 'd2' });
  await refused("nor does one that is registered open another device's", open('d2', first), unauthorized);
});
