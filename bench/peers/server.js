// A gRPC server as grpc-js offers it: an empty call, a stream, and what is said to every stream.
//
// Prints its port as one line of JSON. Messages are bytes, without protobuf, which flatters it.
'use strict';

const grpc = require('@grpc/grpc-js');

const MESSAGE = Buffer.alloc(75);
const NOTHING = Buffer.alloc(0);
const same = (bytes) => bytes;
const method = (name, responseStream) => ({
  path: `/bench.Peer/${name}`,
  requestStream: false,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});

const watchers = new Set();
const server = new grpc.Server();
server.addService(
  { Empty: method('Empty', false), Watch: method('Watch', true), Publish: method('Publish', false) },
  {
    Empty: (call, answer) => answer(null, NOTHING),
    Watch: (call) => {
      watchers.add(call);
      call.on('cancelled', () => watchers.delete(call));
      call.write(MESSAGE);
    },
    Publish: (call, answer) => {
      for (const watcher of watchers) watcher.write(MESSAGE);
      answer(null, NOTHING);
    },
  },
);
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(JSON.stringify({ port }));
});
