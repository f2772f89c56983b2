#pragma once

#include <string>

namespace sluice::gateways {

// For whom something takes its share of what a listener has.
struct Owner {
  std::string name;    // who has a share
  std::string caller;  // which of those that it is divided among; empty where it is not
};

}  // namespace sluice::gateways
