// What every outside client does: create a topic, produce, fetch, be refused. Prints one JSON line.
'use strict';

const AGAIN = /^(NOT_READY|LEADER_UNKNOWN|BUSY):/;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// call(method, fields) promises the result, or rejects with the text of the error.
module.exports = async function session(name, call) {
  const patient = async (method, fields) => {
    for (;;) {
      try {
        return await call(method, fields);
      } catch (error) {
        if (!AGAIN.test(String(error))) throw error;
        await pause(50);
      }
    }
  };
  const where = { topic: name, partition: 0 };
  const created = await call('topic.create', { name, partitions: 2 });
  const records = [
    { k: Buffer.from([0, 255, 128]), v: 'as text', t: 1700000000000 },
    { k: null, v: Buffer.from('hello'), t: 1700000000001, h: [['source', Buffer.from(name)]] },
  ];
  const produced = await patient('produce', { ...where, records });
  const fetched = await patient('fetch', { ...where, offset: 0, format: 'records' });
  let error = null;
  try {
    await call('fetch', { topic: 'no-such-topic', partition: 0, offset: 0 });
  } catch (refusal) {
    error = String(refusal);
  }
  const hex = (bytes) => (bytes === null ? null : Buffer.from(bytes).toString('hex'));
  const plain = fetched.records.map((r) => ({
    o: r.o,
    t: r.t,
    k: hex(r.k),
    v: hex(r.v),
    h: r.h.map(([key, value]) => [key, hex(value)]),
  }));
  const { offset, count } = produced;
  const said = { created: created.partitions, offset, count, records: plain, error };
  console.log(JSON.stringify(said));
};
