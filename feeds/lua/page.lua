-- The ids of one timeline within exclusive bounds, and its coverage, in one answer.
-- KEYS[1] the timeline    ARGV limit of a timeline, below (id), above (id), count, 'newest' or 'nearest' (to above)
-- Returns {coverage, id, id ...} in the order asked for, or nothing where no built timeline is.
-- Ids at or below the coverage are never returned; an entry beyond the limit, not trimmed yet, counts as trimmed.

local key, limit, below, above, count = KEYS[1], tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local last = call('ZRANGE', key, -1, -1, 'WITHSCORES')
if last[1] ~= built then return false end
local cover = integer(last[2])
local cut = call('ZRANGE', key, limit, limit)[1]
if cut and cut ~= built then cover = cut end
if tonumber(cover) > tonumber(above) then above = cover end
local ids
if ARGV[5] == 'newest' then
  ids = call('ZRANGEBYSCORE', key, '(-' .. below, '(-' .. above, 'LIMIT', 0, count)
else
  ids = call('ZREVRANGEBYSCORE', key, '(-' .. above, '(-' .. below, 'LIMIT', 0, count)
end
table.insert(ids, 1, cover)
return ids
