// Messages from the cloud to a device. The service SDK sends them by AMQP, so the hub's side does.
'use strict';

const { Inbox, ask, device, equal, run } = require('./checks');

run(async () => {
  const client = await device('d1');
  const messages = new Inbox();
  client.on('message', (message) => client.complete(message, (error) => messages.put(error ?? message)));

  const sent = { 'alert/level': 'a&b=c + d', größe: '☂' };
  await ask('sendToDevice', { device: 'd1', body: 'hello', id: 'id 1&2', properties: sent });
  const message = await messages.next('a message');
  equal('a message arrives', [message.data.toString(), message.messageId], ['hello', 'id 1&2']);
  const received = Object.fromEntries(message.properties.propertyList.map(({ key, value }) => [key, value]));
  equal('with its properties', Object.keys(sent).map((key) => received[key]), Object.values(sent));

  await ask('acknowledged', { device: 'd1' });
  await ask('cut', { device: 'd1' });
  await ask('sendToDevice', { device: 'd1', body: 'after the cut' });
  equal('one finds its way after a cut, and none comes twice',
    (await messages.next('a message')).data.toString(), 'after the cut');

  await client.close();
  await ask('disconnected', { device: 'd1' });
  for (const number of [0, 1, 2]) await ask('sendToDevice', { device: 'd1', body: String(number) });
  await client.open();
  const waited = [];
  while (waited.length < 3) waited.push((await messages.next('a message that waited')).data.toString());
  equal('those that it missed wait for it, in order', waited, ['0', '1', '2']);
  await ask('acknowledged', { device: 'd1' });
});
