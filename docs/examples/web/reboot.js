// Reboots a device and follows it to the verdict over gRPC-Web, with what a page in a browser has:
// fetch, and HTTP/1.1. A page is bundled with code generated from the definition; here a description
// of it (`buf build proto -o api.binpb`) is read instead.
//
//     node reboot.js URL DEVICE API.BINPB
//
// Ends with 0 when the reboot is proved, with 1 when it is not, with 4 when the service refused.
'use strict';

const { readFileSync } = require('node:fs');
const { randomUUID } = require('node:crypto');
const { setTimeout: sleep } = require('node:timers/promises');
const { createFileRegistry, fromBinary } = require('@bufbuild/protobuf');
const { FileDescriptorSetSchema } = require('@bufbuild/protobuf/wkt');
const { BinaryReader } = require('@bufbuild/protobuf/wire');
const { Code, ConnectError, createClient } = require('@connectrpc/connect');
const { createGrpcWebTransport } = require('@connectrpc/connect-web');

const [baseUrl, device, description] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(description)));
const state = (number) => registry.getEnum('iothubdm.v1.AttemptState').value[number].localName;
const grade = (number) => registry.getEnum('iothubdm.v1.EvidenceGrade').value[number].localName;
const service = createClient(registry.getService('iothubdm.v1.DeviceManagement'), createGrpcWebTransport({ baseUrl }));

const AGAIN = new Set([Code.Unavailable, Code.Internal, Code.Unknown]);

// What the service calls the cause: the first field of google.rpc.ErrorInfo.
function explanation(error) {
  const info = error.details.find(({ type }) => type === 'google.rpc.ErrorInfo');
  const reader = new BinaryReader(info?.value ?? new Uint8Array());
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1) return reader.string();
    reader.skip(type);
  }
  return undefined;
}

// Follows an attempt to its end, over streams that break.
async function follow(name) {
  let [resumeToken, latest] = ['', undefined];
  for (let pause = 250; ; pause = Math.min(2 * pause, 5000)) {
    try {
      for await (const { event, resumeToken: token } of service.watchReboot({ name, resumeToken })) {
        [resumeToken, pause] = [token, 250];
        if (event.case === 'snapshot') latest = event.value;
        if (event.case !== 'progress') continue;
        latest = event.value.attempt;
        console.log(state(latest.state), event.value.message);
        if (event.value.terminal) return latest;
      }
      if (latest?.endTime) return latest; // the token was after the terminal event
    } catch (error) {
      const { code, rawMessage } = ConnectError.from(error);
      if (code === Code.OutOfRange && resumeToken) resumeToken = ''; // too old: begin anew
      else if (!AGAIN.has(code)) throw error;
      console.log('interrupted:', rawMessage);
    }
    await sleep((0.5 + Math.random() / 2) * pause);
  }
}

async function main() {
  try {
    const request = { device: `devices/${device}`, requestId: randomUUID(), reason: 'example' };
    const { name } = await service.reboot(request, { timeoutMs: 90_000 });
    const verdict = await follow(name);
    if (state(verdict.state) === 'SUCCEEDED') return [0, 'proved:', grade(verdict.evidence.grade), verdict.evidence.after];
    return [1, 'not proved:', verdict.error?.code, verdict.error?.message];
  } catch (thrown) {
    const error = ConnectError.from(thrown);
    return [4, 'refused:', Code[error.code], explanation(error), error.rawMessage];
  }
}

main().then(([code, ...words]) => {
  console.log(...words);
  process.exitCode = code;
});
