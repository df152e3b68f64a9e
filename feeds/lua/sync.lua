-- Makes one timeline agree with what PostgreSQL says of one author: adds and removes in one step.
-- KEYS[1] the timeline    ARGV deadline (unix ms), limit, floor (id), count of ids to add, those ids, the ids to remove
-- Returns -1 if late, 0 where no timeline is, else 1.

if late(ARGV[1]) then return -1 end
local key, limit, floor = KEYS[1], tonumber(ARGV[2]), ARGV[3]
local last = call('ZRANGE', key, -1, -1, 'WITHSCORES')
local mark = last[1]
if not mark then return 0 end
local building = string.sub(mark, 1, 2) == 'b:' and string.sub(mark, -12) == reign
if mark ~= built and not building then call('UNLINK', key) return 0 end
local added = tonumber(ARGV[4])
local cover = -tonumber(last[2])
for i = 5, 4 + added do
  if building or tonumber(ARGV[i]) > cover then call('ZADD', key, '-' .. ARGV[i], ARGV[i]) end
end
for i = 5 + added, #ARGV do call('ZREM', key, ARGV[i]) end
if not building then
  if tonumber(floor) > cover then -- a bounded backfill: below it nothing is promised any more
    call('ZREMRANGEBYSCORE', key, '-' .. floor, '+inf')
    call('ZADD', key, '-' .. floor, built)
  end
  trim(key, limit)
end
return 1
