// A hub that ends and starts again: this SDK does not subscribe to twins again, so the hub has to
// remember.
'use strict';

const { Inbox, ask, backEnd, device, equal, registry, run } = require('./checks');

run(async () => {
  const client = await device('d1');
  client.onDeviceMethod('echo', (request, response) => response.send(200, request.payload));
  const twin = await client.getTwin();
  const rounds = new Inbox();
  twin.on('properties.desired.round', rounds.put);
  await twin.get();
  const report = (patch) => new Promise((resolve, reject) => {
    twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve()));
  });
  await report({ before: true });

  for (const round of [1, 2]) {
    await ask('restart');
    await ask('connected', { device: 'd1' });
    // The connections that a service client keeps ended with the hub.
    const [hub, service] = [registry(), backEnd()];
    const call = { methodName: 'echo', payload: round, connectTimeoutInSeconds: 30 };
    const { result } = await service.invokeDeviceMethod('d1', call);
    equal(`after restart ${round} a method is answered`, result.payload, round);
    await hub.updateTwin('d1', { properties: { desired: { round } } }, '*');
    while ((await rounds.next('a desired value')) !== round);
    await report({ round });
    const { reported } = (await hub.getTwin('d1')).responseBody.properties;
    equal('the twin goes on', [reported.before, reported.round], [true, round]);
    equal('the device reads it', (await client.getTwin()).properties.desired.round, round);
  }
});
