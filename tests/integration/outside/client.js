// A producer and a group consumer on npm's msgpack5rpc, as it is.
//
// client.js SERVERS produce TOPIC FIRST LAST    numbered records, spread over the partitions
// client.js SERVERS consume TOPIC GROUP         a member of the group, until SIGTERM
'use strict';

const net = require('net');
const Session = require('msgpack5rpc');

const AGAIN = /^(UNREACHABLE|NOT_LEADER|LEADER_UNKNOWN|LEADER_CHANGED|NOT_READY|BUSY|STOPPED):/;
const sorted = (numbers) => [...numbers].sort((a, b) => a - b);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const servers = process.argv[2].split(',');
const sockets = new Map(); // by address
const leaders = new Map(); // addresses by what they lead, a partition or a group
let stop = false;

function connect(address) {
  const [host, port] = address.split(':');
  const socket = net.connect(Number(port), host);
  socket.rpc = new Session();
  socket.rpc.attach(socket, socket);
  socket.on('error', () => {}).on('timeout', () => socket.destroy());
  socket.on('close', () => sockets.delete(address));
  sockets.set(address, socket);
  return socket;
}

function ask(address, method, fields) {
  const socket = sockets.get(address) || connect(address);
  return new Promise((resolve, reject) => {
    const lost = () => reject('UNREACHABLE: no answer');
    socket.once('close', lost).setTimeout(10000);
    socket.rpc.request(method, [fields], (error, result) => {
      socket.off('close', lost).setTimeout(0);
      if (error) reject(error);
      else resolve(result);
    });
  });
}

async function call(what, method, fields) {
  for (;;) {
    const address = leaders.get(what) || servers[0];
    try {
      const result = await ask(address, method, fields);
      leaders.set(what, address);
      return result;
    } catch (error) {
      if (!AGAIN.test(error)) throw error;
      leaders.delete(what);
      if (error.startsWith('NOT_LEADER:')) leaders.set(what, error.split(' ')[2]); // it names one
      else servers.push(servers.shift());
      await pause(20);
    }
  }
}

async function produce(topic, first, last) {
  const about = await call(null, 'metadata', { topics: [topic] });
  const count = about.topics[0].partitions.length;
  for (let n = Number(first); n <= Number(last); n++) {
    const partition = n % count;
    const [k, v] = [Buffer.from(`key-${n}`), Buffer.from(`value-${n}`)];
    const records = [{ k, v, h: [['by', Buffer.from('node')]] }];
    const stored = await call(`${topic}/${partition}`, 'produce', { topic, partition, records });
    console.log('sent', partition, stored.offset, n);
  }
}

// Reads on in each partition of `at` and moves its position; says whether there was any.
async function read(topic, at) {
  let any = false;
  for (const [partition, offset] of at) {
    const where = { topic, partition, offset, max_bytes: 65536, format: 'records' };
    for (const { o, k, v, h } of (await call(`${topic}/${partition}`, 'fetch', where)).records) {
      const headers = h.map(([name, text]) => `${name}=${text}`);
      console.log('read', partition, o, `${k}`, `${v}`, ...headers);
      at.set(partition, o + 1);
      any = true;
    }
  }
  return any;
}

async function consume(topic, group) {
  let [me, at, busy, unsaved] = [null, new Map(), false, false];
  while (me || !stop) {
    try {
      if (!me) {
        me = await call(group, 'group.join', { group, topics: [topic] });
        at = new Map();
      } else { // which gives up what was revoked: it is in `at` no more, and committed
        const owned = [{ topic, partitions: [...at.keys()] }];
        const { member, generation } = me;
        const fields = { group, member, generation, owned, max_wait_ms: busy ? 0 : 200 };
        me = await call(group, 'group.heartbeat', fields);
      }
      const assigned = sorted(me.assigned.flatMap((part) => part.partitions));
      if (`${assigned}` !== `${sorted(at.keys())}`) {
        console.log('owns', ...assigned);
        const { offsets } = await call(group, 'group.committed', { group, topics: [topic] });
        const start = new Map(offsets.map((row) => [row.partition, row.offset]));
        at = new Map(assigned.map((n) => [n, at.get(n) ?? start.get(n) ?? 0]));
      }
      busy = await read(topic, at);
      unsaved = unsaved || busy;
      if (unsaved) {
        const offsets = [...at].map(([partition, offset]) => ({ topic, partition, offset }));
        const { member, generation } = me;
        await call(group, 'group.commit', { group, member, generation, offsets });
        unsaved = false;
      }
      if (stop) {
        await call(group, 'group.leave', { group, member: me.member });
        me = null;
      }
    } catch (error) {
      if (/^UNKNOWN_MEMBER:/.test(error)) me = null; // joins again
      else if (!/^GROUP_FENCED:/.test(error)) throw error; // the next heartbeat tells what was lost
    }
  }
  console.log('left');
}

process.on('SIGTERM', () => { stop = true; });
const work = { produce, consume }[process.argv[3]];
work(...process.argv.slice(4)).then(() => process.exit(0));
