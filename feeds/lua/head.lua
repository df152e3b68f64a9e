-- Before every script: the reign, the deadline, and the trim.
--
-- A home timeline is one sorted set, home:{BUCKET}:READER; members post ids, score -id, so that a push lands at the head.
-- Its last element, always, is the mark: existence, state, coverage and reign in one.
--   c:REIGN       score -COVER  built: every pushed post above COVER is here
--   b:TOKEN:REIGN score +inf    being built by the rebuild that holds TOKEN
-- No mark, or one of another reign: the timeline counts as absent, and PostgreSQL serves.
-- Post ids are multiples of 32 below 2^58, which a double holds exactly; they travel as strings.

local call = redis.call
local reign = string.sub(string.match(call('INFO', 'replication'), 'master_replid:(%x+)'), 1, 12)
local built = 'c:' .. reign

local function late(deadline)
  if deadline == '0' then return false end
  local now = call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000) > tonumber(deadline)
end

local function integer(score) return string.format('%.0f', math.abs(tonumber(score))) end

-- Keeps the `limit` newest of a built timeline; the newest that goes becomes the coverage.
local function trim(key, limit)
  local cut = call('ZRANGE', key, limit, limit)[1]
  if cut and cut ~= built then
    call('ZREMRANGEBYRANK', key, limit, -1)
    call('ZADD', key, '-' .. cut, built)
  end
end

local tags = {} -- by bucket: to make a number into a string costs as much as half a ZADD
local function key_of(prefix, reader)
  local bucket = reader % 128
  local tag = tags[bucket]
  if not tag then
    tag = prefix .. '{' .. bucket .. '}:'
    tags[bucket] = tag
  end
  return tag .. reader
end
