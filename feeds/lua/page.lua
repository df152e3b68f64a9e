-- The ids of one timeline within exclusive bounds, and its coverage, in one answer.
-- KEYS[1] the timeline    ARGV below (id), above (id), count, 'newest' or 'nearest' (to above)
-- Returns {coverage, id, id ...} in the order asked for, or nothing where no built timeline is.
-- Ids at or below the coverage are never returned; an entry beyond the limit, not trimmed yet, counts as trimmed.

local key, below, above, count = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local front = tidy(key) or {}
local cover = cover_of(mark_of(key)) -- after tidying, which may have trimmed
if not cover then return false end
local length = call('LLEN', key) - 1
if length > limit then
  length = limit
  cover = call('LINDEX', key, limit)
end
local first = place_of(key, 0, length, below - 32)
local last = length -- all that is stored is above the coverage
if above > tonumber(cover) then last = place_of(key, 0, length, above) end
local ids = {}
if ARGV[4] == 'newest' then
  last = math.min(last, first + count)
  if last <= #front then
    for place = first + 1, last do ids[#ids + 1] = front[place] end
  elseif first < last then
    ids = call('LRANGE', key, first, last - 1)
  end
elseif first < last then
  local found = call('LRANGE', key, math.max(first, last - count), last - 1)
  for place = #found, 1, -1 do ids[#ids + 1] = found[place] end
end
table.insert(ids, 1, cover)
return ids
