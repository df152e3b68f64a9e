-- Makes one timeline agree with what PostgreSQL says of one author: adds and removes in one step.
-- KEYS[1] the timeline    ARGV deadline (unix ms), floor (id), count of ids to add, those ids, the ids to remove
-- Returns -1 if late, 0 where no timeline is, else 1.

if late(ARGV[1]) then return -1 end
local key, floor, added = KEYS[1], ARGV[2], tonumber(ARGV[3])
local mark = mark_of(key)
if not mark then return 0 end
local ids, removed = {}, {}
for i = 4, 3 + added do ids[#ids + 1] = ARGV[i] end
for i = 4 + added, #ARGV do removed[ARGV[i]] = true end
local cover = cover_of(mark)
if not cover then
  for _, id in ipairs(ids) do call('LPUSH', key, id) end
  for id in pairs(removed) do call('LREM', key, 0, id) end
  return 1
end
for _, id in ipairs(call('LRANGE', key, 0, -2)) do
  if not removed[id] then ids[#ids + 1] = id end
end
-- After a bounded backfill nothing is promised any more at and below the floor.
write(key, ids, tonumber(floor) > tonumber(cover) and floor or cover)
return 1
