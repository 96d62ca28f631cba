// Jobs: a method and a twin update for many devices, what became of each, listing and cancelling.
'use strict';

const { Inbox, ask, check, device, equal, jobs, refused, registry, run } = require('./checks');

run(async () => {
  const hub = registry();
  const manager = jobs();
  // Reads the job until it has ended, as the samples do.
  const ended = async (jobId) => {
    for (;;) {
      const { jobStatus } = await manager.getJob(jobId);
      if (['completed', 'failed', 'cancelled'].includes(jobStatus.status)) return jobStatus;
    }
  };

  const client = await device('d1');
  client.onDeviceMethod('lockDoor', (request, response) => response.send(200));
  const twin = await client.getTwin();
  const floors = new Inbox();
  twin.on('properties.desired.floor', floors.put);
  await twin.get();
  await ask('register', { device: 'offline' });
  await ask('register', { device: 'elsewhere' });
  for (const deviceId of ['d1', 'offline']) await hub.updateTwin(deviceId, { tags: { building: '43' } }, '*');
  await ask('callable', { device: 'd1' });

  const patch = { etag: '*', properties: { desired: { building: '43', floor: 3 } } };
  const made = (await manager.scheduleTwinUpdate('update', "tags.building = '43'", patch, new Date(), 300)).jobStatus;
  equal('a job is made', [made.jobId, made.type], ['update', 'scheduleUpdateTwin']);
  let job = await ended('update');
  equal('it is done for each device it finds',
    [job.status, job.deviceJobStatistics.deviceCount, job.deviceJobStatistics.succeededCount], ['completed', 2, 2]);
  equal('the connected one is told', await floors.next('a desired patch'), 3);
  equal("the other one's twin is changed", (await hub.getTwin('offline')).responseBody.properties.desired.floor, 3);
  check("the third one's is not", !('floor' in (await hub.getTwin('elsewhere')).responseBody.properties.desired));

  const method = { methodName: 'lockDoor', payload: null, responseTimeoutInSeconds: 15 };
  await manager.scheduleDeviceMethod('call', "deviceId IN ['d1','offline']", method, new Date(), 300);
  job = await ended('call');
  equal('a method reaches who is there',
    [job.deviceJobStatistics.deviceCount, job.deviceJobStatistics.succeededCount, job.deviceJobStatistics.failedCount], [2, 1, 1]);
  equal('once', (await ask('methods')).map(({ device, name, deliveries }) => [device, name, deliveries]), [['d1', 'lockDoor', 1]]);
  const { result } = await hub.createQuery("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'call'").next();
  equal('each device has its result', result.map(({ deviceId, status }) => [deviceId, status]).sort(),
    [['d1', 'completed'], ['offline', 'failed']]);
  const { outcome } = result.find(({ deviceId }) => deviceId === 'd1');
  equal('with what it answered', outcome, { deviceMethodResponse: { status: 200, payload: null } });

  for (const moduleId of ['m1', 'm2']) await hub.addModule({ deviceId: 'd1', moduleId });
  await hub.addModule({ deviceId: 'offline', moduleId: 'm1' });
  const rate = { etag: '*', properties: { desired: { rate: 5 } } };
  await manager.scheduleTwinUpdate('modules', "FROM devices.modules WHERE deviceId = 'd1' AND moduleId = 'm1'", rate, new Date(), 300);
  job = await ended('modules');
  equal('a job can be for a module of a device', [job.status, job.deviceJobStatistics.succeededCount], ['completed', 1]);
  equal('and reaches it', (await hub.getModuleTwin('d1', 'm1')).responseBody.properties.desired.rate, 5);
  check('alone', !('rate' in (await hub.getModuleTwin('offline', 'm1')).responseBody.properties.desired));

  const later = new Date(Date.now() + 3_600_000);
  await manager.scheduleDeviceMethod('late', '*', method, later, 300);
  check('a job can wait', ['queued', 'scheduled'].includes((await manager.getJob('late')).jobStatus.status));
  await manager.cancelJob('late');
  equal('and be cancelled', (await manager.getJob('late')).jobStatus.status, 'cancelled');
  await refused('a job cannot be made twice', manager.scheduleDeviceMethod('late', '*', method, later, 300),
    (error) => error.response.statusCode === 409);

  const list = async (type, status) => {
    const query = manager.createQuery(type, status, 1);
    const found = [];
    // Without its own token this SDK begins at the first page again.
    do found.push(...(await query.next(query.continuationToken)).result); while (query.hasMoreResults);
    return found.map(({ jobId }) => jobId).sort();
  };
  equal('jobs are listed page by page', await list(), ['call', 'late', 'modules', 'update']);
  equal('by type', await list('scheduleDeviceMethod'), ['call', 'late']);
  equal('and by state', await list('scheduleDeviceMethod', 'cancelled'), ['late']);
});
