// A service that reboots devices, as it is written with grpc-js and Microsoft's SDK.
//
// `/bench.Peer/Reboot` calls the method `reboot` of the device that the request names. Prints its port as
// one line of JSON. Messages are bytes, without protobuf, which flatters it.
'use strict';

const grpc = require('@grpc/grpc-js');
const { Client } = require('azure-iothub');

const NOTHING = Buffer.alloc(0);
const same = (bytes) => bytes;
const client = Client.fromConnectionString(process.env.HUB_OWNER);
const server = new grpc.Server();
server.addService(
  {
    Reboot: {
      path: '/bench.Peer/Reboot',
      requestStream: false,
      responseStream: false,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    },
  },
  {
    Reboot: (call, answer) => {
      const method = { methodName: 'reboot', payload: {} };
      // A string, whose tag and length are a byte each.
      const device = call.request.subarray(2).toString();
      client.invokeDeviceMethod(device, method).then(
        () => answer(null, NOTHING),
        (error) => answer(error),
      );
    },
  },
);
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(JSON.stringify({ port }));
});
