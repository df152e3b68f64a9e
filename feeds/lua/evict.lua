-- Drops the timelines of many readers.
-- KEYS[1] the prefix of the keys    ARGV readers ('1,2,3')
-- Returns how many there were, in a list.

local prefix, gone = prefix(), 0
for reader in string.gmatch(ARGV[1], '%d+') do gone = gone + call('UNLINK', key_of(prefix, reader)) end
return {gone}
