// One member's view of the team of threads that works on one call. Plain data, so that kernels compiled for
// any instruction set can hold it.
#pragma once

namespace fastseq {

struct Team {
  int index;            // 0 is the thread that made the call
  int count;            // members in this call's team; 1 means the caller works alone
  void* meeting;        // what meet() needs
  void (*meet)(void*);  // team.meet(team.meeting): a barrier of all members; a no-op when count is 1
};

}  // namespace fastseq
