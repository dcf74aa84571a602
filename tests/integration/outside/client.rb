# A producer and a group consumer on Debian's ruby-msgpack and a socket.
#
# client.rb SERVERS produce TOPIC FIRST LAST    numbered records, spread over the partitions
# client.rb SERVERS consume TOPIC GROUP         a member of the group, until SIGTERM
require "msgpack"
require "socket"

AGAIN = %w[UNREACHABLE NOT_LEADER LEADER_UNKNOWN LEADER_CHANGED NOT_READY BUSY STOPPED]
$servers = ARGV.shift.split(",")
$answers = {} # by address: an unpacker on a connection
$leaders = {} # addresses by what they lead, a partition or a group
$stop = false
$stdout.sync = true

def ask(address, method, fields)
  $answers[address] ||= MessagePack::Unpacker.new(TCPSocket.new(*address.split(":")))
  node = $answers[address].buffer.io
  node.write(MessagePack.pack([0, 1, method, [fields]]))
  $answers[address].read[2..]
rescue SystemCallError, IOError
  $answers.delete(address)&.buffer&.io&.close
  ["UNREACHABLE: no answer", nil]
end

def call(what, method, fields)
  loop do
    address = $leaders[what] || $servers[0]
    error, result = ask(address, method, fields)
    $leaders[what] = error ? nil : address
    return result unless error
    code, facts = error.split(": ", 2)
    raise error unless AGAIN.include?(code)
    if code == "NOT_LEADER"
      $leaders[what] = facts.split[1] # the address that it names
    else
      $servers.rotate!
    end
    sleep 0.02
  end
end

def produce(topic, first, last)
  count = call(nil, "metadata", { topics: [topic] })["topics"][0]["partitions"].size
  (first.to_i..last.to_i).each do |n|
    record = { k: "key-#{n}".b, v: "value-#{n}".b, h: [["by", "ruby".b]] } # .b: bytes, not text
    where = { topic: topic, partition: n % count }
    stored = call([topic, n % count], "produce", { **where, records: [record] })
    puts "sent #{n % count} #{stored["offset"]} #{n}"
  end
end

# Reads on in each partition of `at` and moves its position; returns whether there was any.
def read(topic, at)
  before = at.dup
  before.each do |n, offset|
    where = { topic: topic, partition: n, offset: offset, max_bytes: 65536, format: "records" }
    call([topic, n], "fetch", where)["records"].each do |record|
      headers = record["h"].map { |pair| pair.join("=") }
      puts ["read", n, record["o"], record["k"], record["v"], *headers].join(" ")
      at[n] = record["o"] + 1
    end
  end
  at != before
end

def consume(topic, group)
  me, who, at, busy, unsaved = nil, {}, {}, false, false
  while me || !$stop
    begin
      if me.nil?
        me, at = call(group, "group.join", { group: group, topics: [topic] }), {}
      else # which gives up what was revoked: it is in `at` no more, and committed
        owned = [{ topic: topic, partitions: at.keys }]
        fields = { **who, owned: owned, max_wait_ms: busy ? 0 : 200 }
        me = call(group, "group.heartbeat", fields)
      end
      who = { group: group, member: me["member"], generation: me["generation"] }
      assigned = me["assigned"].flat_map { |part| part["partitions"] }.sort
      if assigned != at.keys.sort
        puts ["owns", *assigned].join(" ")
        rows = call(group, "group.committed", { group: group, topics: [topic] })["offsets"]
        start = rows.to_h { |row| [row["partition"], row["offset"]] }
        at = assigned.to_h { |n| [n, at[n] || start[n] || 0] }
      end
      busy = read(topic, at)
      unsaved ||= busy
      if unsaved
        offsets = at.map { |n, offset| { topic: topic, partition: n, offset: offset } }
        call(group, "group.commit", { **who, offsets: offsets })
        unsaved = false
      end
      if $stop
        call(group, "group.leave", { group: group, member: me["member"] })
        me = nil
      end
    rescue RuntimeError => refused
      case refused.message
      when /^UNKNOWN_MEMBER:/ then me = nil # joins again
      when /^GROUP_FENCED:/ then next # the next heartbeat tells what was lost
      else raise
      end
    end
  end
  puts "left"
end

trap("TERM") { $stop = true }
send(*ARGV)
