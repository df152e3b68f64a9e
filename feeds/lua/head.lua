-- Before every script: what a timeline looks like, and what is done to one.
--
-- A home timeline is one list, home:{BUCKET}:READER: post ids, and as its last element, always, the mark: existence, state,
-- coverage and reign in one.
--   c:COVER:REIGN  built: every pushed post above COVER is here
--   b:TOKEN:REIGN  being built by the rebuild that holds TOKEN
-- No mark of this reign: the timeline counts as absent, and PostgreSQL serves.
--
-- A push puts its id at the front, whatever its place, since one LPUSHX is then all that it costs. So of a built timeline
-- fewer than `every` elements, the front, may be out of order, doubled, or not above the coverage; what is behind them is
-- above it and descends strictly. `tidy` puts all in order. It is called by the push that makes the length a multiple of
-- `every`, and before and after what makes the list shorter, so that there are never more pushes between two of its calls.
--
-- Post ids are multiples of 32 below 2^58, which a double holds exactly; they travel as strings.
-- Set before this text: limit (of a timeline, in ids), every.

local call = redis.call
local reign = string.sub(string.match(call('INFO', 'replication'), 'master_replid:(%x+)'), 1, 12)

local function late(deadline)
  if deadline == '0' then return false end
  local now = call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000) > tonumber(deadline)
end

-- The mark of a timeline of this reign; nothing where none is. One of an earlier reign is dropped.
local function mark_of(key)
  local mark = call('LINDEX', key, -1)
  if not mark then return false end
  if string.sub(mark, -12) == reign then return mark end
  call('UNLINK', key)
  return false
end

-- The coverage, of a built timeline's mark.
local function cover_of(mark) return mark and string.match(mark, '^c:(%d+):') end

local function number(id) return tonumber(id) or 0 end -- what is no id has no place, and goes with the next writing

-- Makes the timeline a built one of these ids, in any order: those above the coverage, once, `limit` at most. The newest
-- that does not fit becomes the coverage.
local function write(key, ids, cover)
  local places, lowest = {}, tonumber(cover)
  for _, id in ipairs(ids) do
    local place = number(id)
    if place > lowest then places[#places + 1] = place end
  end
  table.sort(places)
  local kept, last = {}, nil
  for i = #places, 1, -1 do
    if places[i] ~= last then
      last = places[i]
      local id = string.format('%.0f', last)
      if #kept == limit then cover = id break end
      kept[#kept + 1] = id
    end
  end
  call('DEL', key)
  for first = 1, #kept, 1000 do call('RPUSH', key, unpack(kept, first, math.min(first + 999, #kept))) end
  call('RPUSH', key, 'c:' .. cover .. ':' .. reign)
end

-- The index, from `from`, of the first id that is `bound` or less, in a built timeline whose ids descend from there to `to`.
local function place_of(key, from, to, bound)
  if number(call('LINDEX', key, from)) <= bound then return from end -- mostly the newest are asked for
  from = from + 1
  while from < to do
    local middle = math.floor((from + to) / 2)
    if number(call('LINDEX', key, middle)) > bound then from = middle + 1 else to = middle end
  end
  return from
end

-- Puts a built timeline in order. Mostly it is, and then its front is returned; else mostly its front alone is not, and belongs
-- before the rest, or among the first of it.
local function tidy(key)
  local front = call('LRANGE', key, 0, every)
  local behind = table.remove(front) -- an id that is in its place, or the mark
  local lowest = tonumber(behind) or tonumber(cover_of(behind))
  if not lowest then return end
  local previous, place = math.huge, 0
  while place < #front do
    local id = tonumber(front[place + 1])
    if not id or id >= previous then break end
    previous = id
    place = place + 1
  end
  if place == #front and previous > lowest then return front end
  local last = previous
  for i = place + 1, #front do last = math.min(last, number(front[i])) end
  local cover = cover_of(mark_of(key))
  if not cover then return end
  if last <= tonumber(cover) then return write(key, call('LRANGE', key, 0, -2), cover) end
  local deep = #front
  if last <= lowest then
    deep = place_of(key, every, call('LLEN', key) - 1, last - 32)
    front = call('LRANGE', key, 0, deep - 1)
  end
  local places, ids = {}, {}
  for _, id in ipairs(front) do
    local place = number(id)
    if not ids[place] then places[#places + 1] = place end
    ids[place] = id
  end
  table.sort(places)
  for i, place in ipairs(places) do places[i] = ids[place] end
  call('LTRIM', key, deep, -1)
  for first = 1, #places, 1000 do call('LPUSH', key, unpack(places, first, math.min(first + 999, #places))) end
end

-- Keeps the `limit` newest of a tidy built timeline; the newest that goes becomes the coverage.
local function trim(key)
  local cut = call('LINDEX', key, limit)
  if not cut or not tonumber(cut) or not cover_of(mark_of(key)) then return end
  call('LTRIM', key, 0, limit - 1)
  call('RPUSH', key, 'c:' .. cut .. ':' .. reign)
end

-- Of scripts for many readers: 'home:' of the first key, which is just that; or, in a cluster, a bucket's 'home:{BUCKET}:', of
-- which the node is asked whether it has all of that slot; or the timeline itself, of a reader who is asked for alone.
local function prefix() return string.match(KEYS[1], '^[^{]+') end

local tags = {} -- by bucket: to make a number into a string costs as much as half a push
local function key_of(prefix, reader)
  local bucket = reader % 128
  local tag = tags[bucket]
  if not tag then
    tag = prefix .. '{' .. bucket .. '}:'
    tags[bucket] = tag
  end
  return tag .. reader
end
