// Which instruction sets this CPU and its operating system have, and which of them is used.
#pragma once

#include <string>
#include <vector>

namespace fastseq {

std::string isa();                          // the one in use
int vector_bytes();                         // of one of its registers
std::vector<std::string> available_isas();  // worst first

// Chooses FASTSEQ_ISA if that is set, else the best that this CPU has. Throws std::runtime_error that names
// the available ones if FASTSEQ_ISA is none of them.
void choose_isa();
void set_isa(const std::string& name);  // the same for one name; std::invalid_argument if it is not available

}  // namespace fastseq
