#pragma once

#include "tests/support/broker/broker_environment.h"

namespace sluice::eventlog {

// The broker of all tests of this program.
inline const auto* const kBroker = testing::BrokerEnvironment::Register();

}  // namespace sluice::eventlog
