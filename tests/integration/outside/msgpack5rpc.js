// npm msgpack5rpc, as it is.
'use strict';

const net = require('net');
const Session = require('msgpack5rpc');
const session = require('./session');

const socket = net.connect(Number(process.argv[2]), '127.0.0.1', async () => {
  const rpc = new Session();
  rpc.attach(socket, socket);
  const call = (method, fields) =>
    new Promise((resolve, reject) => {
      rpc.request(method, [fields], (error, result) => (error ? reject(error) : resolve(result)));
    });
  await session('msgpack5rpc', call);
  socket.end();
});
