// Reboots a device and follows it to the verdict, over a service that may go away in between.
//
//     node reboot.js ADDRESS DEVICE [REQUEST_ID]
//
// Ends with 0 when the reboot is proved, with 1 when it is not, with 4 when the service refused.
'use strict';

const { randomUUID } = require('node:crypto');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const definition = loader.loadSync('iothubdm/v1/device_management.proto', {
  includeDirs: [path.resolve(__dirname, '../../../proto')], enums: String, longs: String, oneofs: true,
});
const { DeviceManagement } = grpc.loadPackageDefinition(definition).iothubdm.v1;
const { root: rpc } = protobuf.parse(`syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; }`);

// The connection broke, or the service is stopping: the same call may be made again.
const AGAIN = new Set([grpc.status.UNAVAILABLE, grpc.status.INTERNAL, grpc.status.UNKNOWN]);

// What the service calls the cause; undefined where something else answered in its place.
function explanation(error) {
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  const details = bytes ? rpc.lookupType('Status').decode(bytes).details : [];
  const info = details.find(({ typeUrl }) => typeUrl.endsWith('/google.rpc.ErrorInfo'));
  const { domain, reason } = info ? rpc.lookupType('ErrorInfo').decode(info.value) : {};
  return domain === 'iothubdm' ? reason : undefined;
}

// Asks until it is answered. The id makes this safe: it reboots once, however often it is asked.
async function reboot(service, request) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await new Promise((resolve, reject) => {
        const deadline = Date.now() + 90_000;
        service.reboot(request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
      });
    } catch (error) {
      const broke = AGAIN.has(error.code) && [undefined, 'STOPPING'].includes(explanation(error));
      if (!broke || attempt === 7) throw error;
      await sleep((0.5 + Math.random() / 2) * Math.min(5000, 250 * 2 ** attempt));
    }
  }
}

// Follows an attempt to its end, over streams that break.
async function follow(service, name) {
  let [token, pause, latest] = ['', 250, undefined];
  for (;;) {
    try {
      for await (const event of service.watchReboot({ name, resumeToken: token })) {
        [token, pause] = [event.resumeToken, 250];
        latest = event.snapshot ?? event.progress?.attempt ?? latest;
        if (event.progress) console.log(latest.state, event.progress.message);
        if (event.progress?.terminal) return latest;
      }
      if (latest?.endTime) return latest; // the token was after the terminal event
    } catch (error) {
      if (error.code === grpc.status.OUT_OF_RANGE && token) token = ''; // too old: begin anew
      else if (!AGAIN.has(error.code)) throw error;
      console.log('interrupted:', error.details);
    }
    await sleep((0.5 + Math.random() / 2) * pause);
    pause = Math.min(2 * pause, 5000);
  }
}

async function main(address, device, requestId = randomUUID() /* to outlive this process, store it first */) {
  const options = { 'grpc.keepalive_time_ms': 20_000, 'grpc.max_reconnect_backoff_ms': 5_000 };
  const service = new DeviceManagement(address, grpc.credentials.createInsecure(), options);
  try {
    const { name } = await reboot(service, { device: `devices/${device}`, requestId, reason: 'example' });
    const { state, evidence, error } = await follow(service, name);
    if (state === 'ATTEMPT_STATE_SUCCEEDED') return [0, 'proved:', evidence.grade, evidence.after];
    return [1, 'not proved:', error?.code, error?.message];
  } catch (error) {
    return [4, 'refused:', grpc.status[error.code], explanation(error), error.details];
  } finally {
    service.close();
  }
}

main(...process.argv.slice(2)).then(([code, ...words]) => {
  console.log(...words);
  process.exitCode = code;
});
