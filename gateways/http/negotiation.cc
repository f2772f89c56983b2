#include "gateways/http/negotiation.h"

#include <algorithm>

#include "schemas/base/ascii.h"

namespace sluice::gateways {
namespace {

// Cuts off and returns what comes before the next `separator`, trimmed.
std::string_view Next(std::string_view* rest, char separator) {
  const size_t end = std::min(rest->find(separator), rest->size());
  const std::string_view part = TrimBlanks(rest->substr(0, end));
  rest->remove_prefix(std::min(end + 1, rest->size()));
  return part;
}

// "0.5" as 500; -1 for what is no weight.
int Weight(std::string_view text) {
  if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1') ||
      (text.size() > 1 && text[1] != '.')) {
    return -1;
  }
  int weight = (text[0] - '0') * 1000;
  int unit = 100;
  for (const char digit : text.substr(std::min<size_t>(text.size(), 2))) {
    if (!IsDigit(digit)) {
      return -1;
    }
    weight += (digit - '0') * unit;
    unit /= 10;
  }
  return weight <= 1000 ? weight : -1;
}

// How exactly a range names a type, or a coding: 3 itself, 2 its group, 1 everything, 0 not at all.
int Exactness(std::string_view range, std::string_view type) {
  if (EqualsIgnoringCase(range, type)) {
    return 3;
  }
  if (range == "*/*" || range == "*") {
    return 1;
  }
  const std::string_view group = type.substr(0, type.find('/') + 1);
  return range.size() == group.size() + 1 && range.back() == '*' &&
                 EqualsIgnoringCase(range.substr(0, group.size()), group)
             ? 2
             : 0;
}

// 1 to 1000 thousandths, or 0 where the list does not take the item, or says nothing of it.
int WeightOf(std::string_view item, std::string_view list) {
  int exactness = 0;
  int best = 0;
  while (!list.empty()) {
    std::string_view part = Next(&list, ',');
    const int named = Exactness(Next(&part, ';'), item);
    int weight = 1000;
    while (!part.empty()) {
      const std::string_view parameter = Next(&part, ';');
      if (parameter.starts_with("q=") || parameter.starts_with("Q=")) {
        weight = Weight(parameter.substr(2));
      }
    }
    if (named > exactness && weight >= 0) {
      exactness = named;
      best = weight;
    }
  }
  return best;
}

}  // namespace

std::optional<size_t> MostWanted(std::initializer_list<std::string_view> items,
                                 std::string_view list) {
  std::optional<size_t> most;
  int weight = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const int wanted = WeightOf(items.begin()[i], list);
    if (wanted > weight) {
      most = i;
      weight = wanted;
    }
  }
  return most;
}

}  // namespace sluice::gateways
