// Twin queries, page by page.
'use strict';

const { ask, check, equal, refused, registry, run } = require('./checks');

const DEVICES = [1, 2, 3, 4, 5, 6, 7].map((number) => `d${number}`);

run(async () => {
  const hub = registry();
  for (const [number, device] of DEVICES.entries()) {
    await ask('register', { device });
    await hub.updateTwin(device, { tags: { floor: number % 2 }, properties: { desired: { interval: number } } }, '*');
  }

  const pages = async (text, size, next = 'nextAsTwin') => {
    const query = hub.createQuery(text, size);
    const result = [];
    do result.push((await query[next]()).result); while (query.hasMoreResults);
    return result;
  };
  const ids = async (condition) =>
    (await pages(`SELECT * FROM devices WHERE ${condition}`)).flat().map(({ deviceId }) => deviceId).sort();

  const found = await pages('SELECT * FROM devices', 3);
  equal('seven twins come in pages of three', found.map((page) => page.length), [3, 3, 1]);
  equal('each of them once', found.flat().map(({ deviceId }) => deviceId).sort(), DEVICES);
  equal('a page as large as the answer is the last', (await pages('SELECT * FROM devices', 7)).length, 1);
  equal('an empty answer is one empty page', await pages("SELECT * FROM devices WHERE deviceId = 'nobody'", 3), [[]]);
  check('a twin of an answer is whole', found[0][0].etag && found[0][0].properties.reported.$version === 1, found[0][0]);

  equal('by tag', await ids('tags.floor = 1'), ['d2', 'd4', 'd6']);
  equal('by property', await ids('properties.desired.interval > 3'), ['d5', 'd6', 'd7']);
  equal('by list', await ids("deviceId IN ['d1', 'd3', 'nobody']"), ['d1', 'd3']);
  equal('by connection', await ids("connectionState = 'Connected'"), []);

  equal('columns come under their names',
    await pages("SELECT deviceId, properties.desired.interval AS every FROM devices WHERE deviceId = 'd2'", 9, 'next'),
    [[{ deviceId: 'd2', every: 1 }]]);
  const grouped = await pages('SELECT tags.floor AS floor, COUNT() AS n FROM devices GROUP BY tags.floor', 9, 'next');
  equal('groups are counted', grouped.flat().sort((a, b) => a.floor - b.floor), [{ floor: 0, n: 4 }, { floor: 1, n: 3 }]);
  await refused('what is no query is refused', pages('SELECT FROM WHERE'), (error) => error.name === 'ArgumentError');
});
