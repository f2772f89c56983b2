#pragma once

#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/log.h"

namespace sluice::eventlog {

// By which somebody is ended who reads with readers that he opens one after the other, as
// comparisons do: a leader that is away must not keep whoever waits for his end. Thread-safe.
class Cancellation {
 public:
  // The readers of now, and all that come, are cancelled. Whether there were some.
  bool Cancel() ABSL_LOCKS_EXCLUDED(mutex_);

  // A reader that is being read; `cancellation` may be nullptr. Both must outlive it.
  class Reading {
   public:
    Reading(Cancellation* cancellation, Reader& reader);
    ~Reading();
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

   private:
    Cancellation* const cancellation_;
    Reader& reader_;
  };

 private:
  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<Reader*> readers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::eventlog
