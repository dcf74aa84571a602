// npm msgpack-rpc-lite, as it is. It sends whole numbers from 2^31 on as floats.
'use strict';

const { createClient } = require('msgpack-rpc-lite');
const session = require('./session');

const client = createClient(Number(process.argv[2]), '127.0.0.1');
const call = async (method, fields) => (await client.request(method, fields))[0];

session('msgpack-rpc-lite', call).then(() => client.close());
