"""``git theta completion``: scripts that let a shell complete our commands.

Each serves ``git-theta`` and, through the shell's own completion of git, ``git theta``. The words
come from ``git-theta`` itself, which click asks when ``_GIT_THETA_COMPLETE`` is set.
"""

from __future__ import annotations

import click

BASH = r"""# bash completion for git-theta: eval "$(git theta completion bash)"

# Complete the last of the words given: those after "git-theta", or "theta", up to the cursor.
__git_theta_complete() {
    local IFS=$'\n' line type value
    COMPREPLY=()
    while read -r line; do
        type=${line%%,*} value=${line#*,}
        case $type in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_WORDS="git-theta $(printf '%q ' "$@")" COMP_CWORD=$# \
        _GIT_THETA_COMPLETE=bash_complete git-theta 2>/dev/null)
}

# git-theta <TAB>
__git_theta_main() {
    __git_theta_complete "${COMP_WORDS[@]:1:COMP_CWORD}"
}

# git theta <TAB>: git's own completion calls this, with its words in "words" and "cword".
_git_theta() {
    local at
    for ((at = 1; at < cword; at++)); do
        [[ ${words[at]} == theta ]] && break
    done
    __git_theta_complete "${words[@]:at+1:cword-at}"
}

complete -F __git_theta_main git-theta
"""

ZSH = r"""#compdef git-theta
# zsh completion for git-theta: put it on fpath as _git-theta, or after compinit:
# eval "$(git theta completion zsh)"

# zsh's completion of git calls this for "git theta" as well, with words starting at "theta".
_git-theta() {
    local -a plain described response
    local type key help
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \
        _GIT_THETA_COMPLETE=zsh_complete git-theta 2>/dev/null)}")
    for type key help in "${response[@]}"; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain) [[ $help == _ ]] && plain+=("$key") || described+=("${key//:/\\:}:$help") ;;
        esac
    done
    (( $#described )) && _describe -V 'git-theta' described
    (( $#plain )) && compadd -V git-theta -a plain
    return 0
}

zstyle -a ':completion:*:*:git:*' user-commands _git_theta_commands
zstyle ':completion:*:*:git:*' user-commands "${_git_theta_commands[@]}" \
    'theta:version machine learning models'

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _git-theta "$@"
else
    compdef _git-theta git-theta
fi
"""

FISH = r"""# fish completion for git-theta: git theta completion fish | source

function __git_theta_complete
    set -l words (commandline -opc)
    set -l at (contains -i -- theta $words; or echo 1)
    set -l current (commandline -ct)
    set -l before git-theta $words[(math $at + 1)..]
    test -n "$current"; and set -a before $current
    set -l asked (string escape -- $before | string join ' ')
    for line in (COMP_WORDS="$asked" COMP_CWORD="$current" \
            _GIT_THETA_COMPLETE=fish_complete git-theta 2>/dev/null)
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories $current
            case file
                __fish_complete_path $current
            case plain
                echo $parts[2]
        end
    end
end

complete --command git-theta --no-files --arguments '(__git_theta_complete)'
complete --command git --no-files --condition '__fish_seen_subcommand_from theta' \
    --arguments '(__git_theta_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}

EXAMPLES = """Examples:

\b
  eval "$(git theta completion bash)"            in ~/.bashrc
  eval "$(git theta completion zsh)"             in ~/.zshrc, after compinit
  git theta completion fish | source             in ~/.config/fish/config.fish
"""


@click.command(epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print a script that completes git-theta's commands.

    It serves `git theta` as well as `git-theta`, where git's own completion is loaded.
    """
    click.echo(SCRIPTS[shell], nl=False)
