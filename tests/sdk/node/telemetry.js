// Messages to the cloud, with their properties.
'use strict';

const { Message } = require('azure-iot-device');
const { ask, check, device, equal, run } = require('./checks');

run(async () => {
  const client = await device('d1');

  await client.sendEvent(new Message('plain'));
  const [plain] = await ask('telemetry');
  equal('a plain text arrives', [plain.device, plain.module, plain.body], ['d1', null, 'plain']);

  const rich = new Message('{"temperature": 21.5}');
  Object.assign(rich, { messageId: 'id 1&2', correlationId: 'cause=1', contentEncoding: 'utf-8', contentType: 'application/json' });
  rich.properties.add('alert/level', 'a&b=c + d');
  rich.properties.add('größe', '☂');
  await client.sendEvent(rich);
  const { properties } = (await ask('telemetry')).at(-1);
  equal('names and values survive their encoding', properties['alert/level'], 'a&b=c + d');
  equal('in every script', properties['größe'], '☂');
  equal('system properties stand beside them', [properties['$.mid'], properties['$.cid'], properties['$.ct'], properties['$.ce']],
    ['id 1&2', 'cause=1', 'application/json', 'utf-8']);

  const numbers = Array.from({ length: 50 }, (_, number) => String(number));
  await Promise.all(numbers.map((number) => client.sendEvent(new Message(number))));
  equal('many arrive once each, in order', (await ask('telemetry')).slice(2).map(({ body }) => body), numbers);

  const large = 'x'.repeat(255 * 1024);
  await client.sendEvent(new Message(large));
  check('a large one arrives whole', (await ask('telemetry')).at(-1).body === large);
});
