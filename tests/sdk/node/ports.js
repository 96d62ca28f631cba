// The ports: which client finds a hub on another one, told so in its connection string.
'use strict';

const { Client } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { Registry } = require('azure-iothub');

const { ask, equal, refused, run } = require('./checks');

run(async () => {
  const connection = await ask('register', { device: 'd1' });
  const gateway = `GatewayHostName=localhost:${process.env.HUB_MQTT_PORT}`;
  const client = Client.fromConnectionString(`${connection};${gateway}`, Mqtt);
  await client.open();
  equal('a device finds it as its gateway', (await client.getTwin()).properties.desired.$version, 1);
  await client.close();

  const host = `HostName=localhost:${process.env.HUB_HTTPS_PORT}`;
  const hub = Registry.fromConnectionString(process.env.HUB_OWNER.replace('HostName=localhost', host));
  await refused('a service does not', hub.getTwin('d1'), (error) => error.message.includes('ENOTFOUND'));
});
