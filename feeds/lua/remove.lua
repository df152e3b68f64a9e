-- Takes one post out of the timelines of many readers. Needs no deadline: a dead post stays dead.
-- KEYS[1] the prefix of the keys    ARGV post id, readers ('1,2,3')
-- In a tidy timeline the id has one place, found by halving: LREM alone would compare it with all of them.
-- Returns how many timelines exist, in a list.

local prefix, id, found = prefix(), ARGV[1], 0
for reader in string.gmatch(ARGV[2], '%d+') do
  local key = key_of(prefix, reader)
  local mark = mark_of(key)
  if cover_of(mark) then
    tidy(key)
    local place = place_of(key, 0, call('LLEN', key) - 1, tonumber(id))
    if call('LINDEX', key, place) == id then call('LREM', key, 1, id) end
  elseif mark then
    call('LREM', key, 0, id)
  end
  if mark then found = found + 1 end
end
return {found}
