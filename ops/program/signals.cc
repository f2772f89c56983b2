#include "ops/program/signals.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace sluice::ops {
namespace {

// The one that Stop() sends to its own thread.
constexpr int kStopSignal = SIGUSR1;

sigset_t EndingSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

SignalWaiter::SignalWaiter() {
  signal(SIGPIPE, SIG_IGN);
  // A file-size limit is a full disk: the write says so.
  signal(SIGXFSZ, SIG_IGN);
  sigset_t set = EndingSignals();
  sigaddset(&set, kStopSignal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

SignalWaiter::~SignalWaiter() { Stop(); }

void SignalWaiter::OnSignal(std::function<void()> callback) {
  thread_ = std::thread([callback = std::move(callback)] {
    sigset_t set = EndingSignals();
    sigaddset(&set, kStopSignal);
    int signal_number = 0;
    sigwait(&set, &signal_number);
    if (signal_number == kStopSignal) {
      return;
    }
    const sigset_t ending = EndingSignals();
    pthread_sigmask(SIG_UNBLOCK, &ending, nullptr);
    callback();
  });
}

void SignalWaiter::Stop() {
  if (thread_.joinable()) {
    pthread_kill(thread_.native_handle(), kStopSignal);
    thread_.join();
  }
}

void SignalWaiter::Wait() {
  const sigset_t set = EndingSignals();
  int signal_number = 0;
  sigwait(&set, &signal_number);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace sluice::ops
