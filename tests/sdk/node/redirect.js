// Sends TCP connections for the hub's fixed ports on this machine to the emulator's free ports.
//
// Node loads this before the script (`--require`). It changes the port of a TCP connect and nothing
// else: the SDKs still believe in 443 and 8883, ask for the same host name, and check the
// certificate for it.
'use strict';

const net = require('net');

const PORTS = new Map([
  ['443', Number(process.env.HUB_HTTPS_PORT)],
  ['8883', Number(process.env.HUB_MQTT_PORT)],
]);
const LOOPBACK = ['127.0.0.1', '::1', 'localhost'];

function redirected(options) {
  const port = PORTS.get(String(options.port));
  return port && LOOPBACK.includes(options.host ?? 'localhost') ? { ...options, port } : options;
}

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (first, ...others) {
  // Node's own callers pass one list whose first element holds the options; it is theirs to keep.
  if (Array.isArray(first)) first[0] = redirected(first[0]);
  else if (typeof first === 'object') first = redirected(first);
  return connect.call(this, first, ...others);
};
